"""Prompts in, pictures out.

Shape letters: B pictures of a batch, N pictures, C channels, Y rows, X columns, L prompt length.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tgp_multimodal.data.captions import clean
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.diffusion.samplers import Denoise, euler_times, find
from tgp_multimodal.inference.drawing import Drawing, check, rows_columns
from tgp_multimodal.inference.guidance import guided
from tgp_multimodal.inference.init_image import InitImage, InitState, prepare
from tgp_multimodal.inference.likelihoods import padded
from tgp_multimodal.inference.sampling import check_seed
from tgp_multimodal.models.networks import PROMPT_TOKENS, Multimodal

BATCH = 32
Progress = Callable[[float], None]


def draw(
    network: Multimodal,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    drawing: Drawing,
    seeds: Sequence[int] | None = None,
    batch: int = BATCH,
    init_image: InitImage | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Pictures of the prompts, unsigned bytes (N, Y, X, C).

    Each depends on its own prompt and seed alone, and on the given picture.

    Args:
        network: text transformer and head.
        tokenizer: its tokenizer.
        prompts: what to draw.
        drawing: settings.
        seeds: seed of each picture; left out: `drawing.seed + i`.
        batch: pictures drawn at once.
        init_image: what every picture starts from; left out: from noise alone.
        progress: is told how many pictures are drawn; one that is half on its way counts a half.

    Raises:
        ValueError: there is no prompt, or a setting is out of range.
    """
    if not prompts:
        raise ValueError("prompts must hold at least one prompt. Got none instead.")
    check(drawing, network.head.patch)
    seeds = [drawing.seed + i for i in range(len(prompts))] if seeds is None else seeds
    if len(seeds) != len(prompts):
        raise ValueError(
            f"seeds must be one for each of {len(prompts)} prompts. Got {len(seeds)} instead."
        )
    for seed in seeds:
        check_seed(seed)
    size = rows_columns(drawing, network.head.size)
    start = prepare(init_image, *size) if init_image else None
    parts = []
    for first in range(0, len(prompts), batch):
        own = slice(first, first + batch)
        noise = own_noise(seeds[own], *size)
        share = _share(progress, first, len(prompts[own]))
        pixels = draw_pixels(network, tokenizer, prompts[own], noise, drawing, start, share)
        parts.append(to_bytes(pixels))
    return np.concatenate(parts)


def _share(progress: Progress | None, before: int, count: int) -> Progress | None:
    """Reports the share done of a batch as pictures done in all."""
    return progress and (lambda share: progress(before + share * count))


@torch.inference_mode()
def draw_pixels(
    network: Multimodal,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    noise: Callable[[], Tensor],
    drawing: Drawing,
    start: InitState | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Walks from noise to pictures (B, C, Y, X), about -1 to 1, as the stock pipeline does.

    Keys and values of the prompts, which do not depend on time, are computed once for all steps.

    Args:
        network: text transformer and head.
        tokenizer: its tokenizer.
        prompts: what to draw.
        noise: gives new noise (B, C, Y, X) at each call; see `own_noise`.
        drawing: settings.
        start: picture to start from.
        progress: called with the share of the sampling done, at each network evaluation.
    """
    head = network.head
    device = head.txt_in.weight.device
    names = [*prompts, drawing.negative_prompt] if drawing.guidance > 1 else list(prompts)
    denoise = guided(head, *read_prompts(network, tokenizer, names), drawing)
    times, x = euler_times(drawing.steps), noise().to(device)
    if start:
        times, x, denoise = start.below(times), start.at(x), start.with_known_pixels(denoise)
    if progress:
        denoise = _watched(denoise, progress, float(times[0]))
    pixels = find(drawing.sampler)(denoise, x, lambda: noise().to(device), times)
    if progress:
        progress(1.0)
    return start.restore_known(pixels) if start else pixels


def _watched(denoise: Denoise, progress: Progress, begin: float) -> Denoise:
    """Reports progress in time at each call: samplers differ in their number of evaluations."""

    def watched(x_BCYX: Tensor, time: float) -> Tensor:
        progress(1 - time / begin)
        return denoise(x_BCYX, time)

    return watched


def read_prompts(
    network: Multimodal, tokenizer: Tokenizer, prompts: Sequence[str]
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Keys and values of prompts in every block of the head, and the mask (B, L)."""
    rows = [ids[:PROMPT_TOKENS] for ids in _encoded(tokenizer, prompts)]
    token_BL, mask_BL = padded(rows, tokenizer.pad, network.head.txt_in.weight.device)
    return network.head.text_keys_values(network.text(token_BL)), mask_BL


def too_long(tokenizer: Tokenizer, prompts: Sequence[str]) -> list[str]:
    """The prompts of which the head reads the beginning alone."""
    ids = _encoded(tokenizer, prompts)
    return [p for p, own in zip(prompts, ids, strict=True) if len(own) > PROMPT_TOKENS]


def _encoded(tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    return tokenizer.encode_batch([clean(p) for p in prompts], bos=True)


def own_noise(seeds: Sequence[int], rows: int, columns: int) -> Callable[[], Tensor]:
    """A source of noise (B, C, Y, X); picture i's comes from a generator seeded with `seeds[i]`.

    The first noise of a seed is what the stock pipeline draws for it.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape, kind = (3, rows, columns), torch.float32  # whatever the default of the process is
    return lambda: torch.stack([torch.randn(shape, generator=g, dtype=kind) for g in generators])


def to_bytes(pixels_BCYX: Tensor) -> np.ndarray:
    """Pixels from [-1, 1] as unsigned bytes (B, Y, X, C)."""
    scaled = (pixels_BCYX.float() / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy()
