"""How pictures are drawn: the settings, and what is wrong with them."""

from typing import Any, NamedTuple

from tgp_multimodal.diffusion.samplers import SAMPLERS
from tgp_multimodal.inference import kinds
from tgp_multimodal.inference.sampling import check_seed
from tgp_multimodal.names import unknown

_MOST_PIXELS = 2**22  # some 2,000 x 2,000; attention grows with their square
_MOST_GUIDANCE = 1000.0  # float32 still has numbers for what it multiplies


class Drawing(NamedTuple):
    """How pictures are drawn.

    Attributes:
        steps: times at which the network is asked.
        guidance: how far to go from the picture without prompt towards the one with it and beyond
            (Ho & Salimans 2022, arXiv:2207.12598; 1 = no guidance, half the work).
        seed: picture i takes its noise from its own generator, seeded with `seed + i`.
        size: side of the pictures in pixels, or (rows, columns); None: what the head was trained
            on.
        sampler: ancestral; euler, which draws what the stock pipeline draws; heun, of second order
            at twice the work; dpm or unipc, of second order at euler's, which are diffusers'.
        negative_prompt: what guidance leads away from, in place of the empty prompt.
        guidance_from: guidance acts from this time to the next, ends included; elsewhere half of
            the work is left out (Kynkäänniemi et al. 2024, arXiv:2404.07724). 0 is data, 1 noise.
        guidance_to: see `guidance_from`.
        guidance_rescale: how far the contrast that guidance added is taken back, 0 to 1 (Lin et al.
            2023, arXiv:2305.08891, section 3.4).
    """

    steps: int = 20
    guidance: float = 4.0
    seed: int = 0
    size: int | tuple[int, int] | None = None
    sampler: str = "ancestral"
    negative_prompt: str = ""
    guidance_from: float = 0.0
    guidance_to: float = 1.0
    guidance_rescale: float = 0.0


def rows_columns(drawing: Drawing, default: int) -> tuple[int, int]:
    """Rows and columns of the pictures in pixels; `default` is the side where nothing is said.

    Raises:
        ValueError: the size is neither a side nor a pair.
    """
    size: Any = default if drawing.size is None else drawing.size
    if kinds.is_whole(size):
        return int(size), int(size)
    is_pair = hasattr(size, "__len__") and not isinstance(size, str) and len(size) == 2
    if not is_pair or not all(map(kinds.is_whole, size)):
        raise ValueError(f"size must be a side, or (rows, columns). Got {size!r} instead.")
    return int(size[0]), int(size[1])


def check(drawing: Drawing, patch: int) -> None:
    """Refuses settings that are of another kind or out of range.

    Args:
        drawing: the settings.
        patch: side of the head's patches, pixels.

    Raises:
        ValueError: one of them is; the message names it.
    """
    for name in ("sampler", "negative_prompt"):
        kinds.text(name, getattr(drawing, name))
    for name in ("guidance", "guidance_from", "guidance_to", "guidance_rescale"):
        kinds.number(name, getattr(drawing, name))
    if drawing.sampler not in SAMPLERS:
        raise ValueError(unknown("sampler", drawing.sampler, SAMPLERS))
    if kinds.whole("steps", drawing.steps) < 1:
        raise ValueError(f"steps must be at least 1. Got {drawing.steps} instead.")
    sides = rows_columns(drawing, patch)
    if any(side < patch or side % patch for side in sides):
        raise ValueError(
            f"size must be a positive multiple of {patch} (the patch). Got {drawing.size} instead."
        )
    if sides[0] * sides[1] > _MOST_PIXELS:
        raise ValueError(
            f"size must be at most {_MOST_PIXELS:,} pixels, rows times columns. "
            f"Got {sides[0]} x {sides[1]} instead."
        )
    check_seed(drawing.seed)
    _check_guidance(drawing)


def _check_guidance(drawing: Drawing) -> None:
    start, end, rescale = drawing.guidance_from, drawing.guidance_to, drawing.guidance_rescale
    if not drawing.guidance >= 1:
        raise ValueError(f"guidance must be at least 1. Got {drawing.guidance} instead.")
    if drawing.guidance > _MOST_GUIDANCE:
        raise ValueError(
            f"guidance must be at most {_MOST_GUIDANCE:g}. Got {drawing.guidance} instead."
        )
    if not 0 <= start <= end <= 1:
        raise ValueError(
            "guidance_from and guidance_to must be times from 0 to 1, the first no later. "
            f"Got {start} and {end} instead."
        )
    if not 0 <= rescale <= 1:
        raise ValueError(f"guidance_rescale must lie between 0 and 1. Got {rescale} instead.")
    settings = {
        "negative_prompt": drawing.negative_prompt != "",
        "guidance_from": start != 0,
        "guidance_to": end != 1,
        "guidance_rescale": rescale != 0,
    }
    if drawing.guidance == 1 and any(settings.values()):
        named = ", ".join(name for name, is_set in settings.items() if is_set)
        raise ValueError(
            f"guidance must be above 1 for {named} to act. Got {drawing.guidance} instead."
        )
