"""Prompts in, pictures out.

Shape letters: B pictures of a batch, N pictures, C channels, Y rows, X columns, L prompt length.
"""

import html
from collections.abc import Callable, Sequence
from typing import NamedTuple

import ftfy
import numpy as np
import torch
from torch import Tensor

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.diffusion.samplers import SAMPLERS, euler_times
from tgp_multimodal.inference.text import padded
from tgp_multimodal.models.networks import PROMPT_TOKENS, Multimodal

BATCH = 32


class Drawing(NamedTuple):
    """How pictures are drawn.

    Attributes:
        steps: times at which the network is asked.
        guidance: how far to go from the picture without prompt towards the one with it and beyond
            (Ho & Salimans 2022, arXiv:2207.12598; 1 = no guidance, half the work).
        seed: picture i takes its noise from its own generator, seeded with `seed + i`.
        size: side of the pictures in pixels; None: what the head was trained on.
        sampler: ancestral, or euler, which draws what the stock pipeline draws, or heun.
    """

    steps: int = 20
    guidance: float = 4.0
    seed: int = 0
    size: int | None = None
    sampler: str = "ancestral"


def draw(
    network: Multimodal,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    drawing: Drawing,
    seeds: Sequence[int] | None = None,
    batch: int = BATCH,
) -> np.ndarray:
    """Pictures of the prompts, unsigned bytes (N, Y, X, C).

    Each depends on its own prompt and seed alone.

    Args:
        network: text transformer and head.
        tokenizer: its tokenizer.
        prompts: what to draw.
        drawing: settings.
        seeds: seed of each picture; left out: `drawing.seed + i`.
        batch: pictures drawn at once.

    Raises:
        ValueError: there is no prompt, or a setting is out of range.
    """
    _check(network, prompts, drawing)
    seeds = [drawing.seed + i for i in range(len(prompts))] if seeds is None else seeds
    side = drawing.size or network.head.size
    parts = []
    for start in range(0, len(prompts), batch):
        own = slice(start, start + batch)
        noise = own_noise(seeds[own], side)
        parts.append(to_bytes(draw_pixels(network, tokenizer, prompts[own], noise, drawing)))
    return np.concatenate(parts)


@torch.inference_mode()
def draw_pixels(
    network: Multimodal,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    noise: Callable[[], Tensor],
    drawing: Drawing,
) -> Tensor:
    """Walks from noise to pictures (B, C, Y, X), about -1 to 1, as the stock pipeline does.

    The picture with and the picture without prompt are computed in one batch; keys and values of
    the prompts, which do not depend on time, once for all steps.

    Args:
        network: text transformer and head.
        tokenizer: its tokenizer.
        prompts: what to draw.
        noise: gives new noise (B, C, Y, X) at each call; see `own_noise`.
        drawing: settings.
    """
    head, guided = network.head, drawing.guidance > 1
    device = head.txt_in.weight.device
    names = [*prompts, ""] if guided else list(prompts)
    text, mask_BL = read_prompts(network, tokenizer, names)
    if guided:
        # One null prompt at the end serves every picture.
        count = len(prompts)
        index = torch.tensor([*range(count), *[count] * count], device=device)
        text = [(key[index], value[index]) for key, value in text]
        mask_BL = mask_BL[index]

    def denoise(x_BCYX: Tensor, time: float) -> Tensor:
        both = torch.cat((x_BCYX, x_BCYX)) if guided else x_BCYX
        # One time for all: its modulation is computed once and broadcast.
        clean = head.denoise(both, torch.full((1,), time, device=device), text, mask_BL)
        if not guided:
            return clean
        with_prompt, without = clean.chunk(2)
        return without + drawing.guidance * (with_prompt - without)

    sample = SAMPLERS[drawing.sampler]
    return sample(denoise, lambda: noise().to(device), euler_times(drawing.steps))


def read_prompts(
    network: Multimodal, tokenizer: Tokenizer, prompts: Sequence[str]
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Keys and values of prompts in every block of the head, and the mask (B, L)."""
    encoded = tokenizer.encode_batch([clean_prompt(p) for p in prompts], bos=True)
    rows = [ids[:PROMPT_TOKENS] for ids in encoded]
    token_BL, mask_BL = padded(rows, tokenizer.pad, network.head.txt_in.weight.device)
    return network.head.text_keys_values(network.text(token_BL)), mask_BL


def clean_prompt(prompt: str) -> str:
    """A prompt as the stock pipeline cleans it: mojibake mended, entities read, ends stripped."""
    return html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()


def own_noise(seeds: Sequence[int], side: int) -> Callable[[], Tensor]:
    """A source of noise (B, C, Y, X); picture i's comes from a generator seeded with `seeds[i]`.

    The first noise of a seed is what the stock pipeline draws for it.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return lambda: torch.stack([torch.randn((3, side, side), generator=g) for g in generators])


def to_bytes(pixels_BCYX: Tensor) -> np.ndarray:
    """Pixels from [-1, 1] as unsigned bytes (B, Y, X, C)."""
    scaled = (pixels_BCYX.float() / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _check(network: Multimodal, prompts: Sequence[str], drawing: Drawing) -> None:
    if not prompts:
        raise ValueError("prompts must hold at least one prompt. Got none instead.")
    if drawing.guidance < 1:
        raise ValueError(f"guidance must be at least 1. Got {drawing.guidance} instead.")
    if drawing.sampler not in SAMPLERS:
        names = ", ".join(SAMPLERS)
        raise ValueError(
            f"sampler must be a known one. Got {drawing.sampler} instead; there are: {names}."
        )
    if drawing.steps < 1:
        raise ValueError(f"steps must be at least 1. Got {drawing.steps} instead.")
    side, patch = drawing.size, network.head.patch
    if side is not None and (side < patch or side % patch):
        raise ValueError(
            f"size must be a positive multiple of {patch} (the patch). Got {side} instead."
        )
