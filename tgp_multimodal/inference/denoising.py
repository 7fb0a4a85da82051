"""What the diffusion head says of given pictures: denoising errors, and the best-fitting caption.

The noise of a picture is a function of its pixels at the size of the head alone, so that errors
are comparable between captions, and between models of one size.

Shape letters: B pictures of a batch, N pictures, K captions, T times, C channels, Y rows, X
columns.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.diffusion.paths import noisy
from tgp_multimodal.inference import picture_inputs
from tgp_multimodal.inference.image import BATCH, read_prompts
from tgp_multimodal.models.networks import Multimodal

_ROUND = 4  # draws of noise between two decisions of the classifier
_LARGEST = 0.9  # largest time of the classifier; the smallest is 0.1


@torch.inference_mode()
def errors(
    network: Multimodal,
    tokenizer: Tokenizer,
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    times: Sequence[float],
    batch: int = BATCH,
) -> np.ndarray:
    """Mean squared errors of the clean picture at fixed times and fixed noise, (N, T).

    Pixels are those in [-1, 1].

    Args:
        network: text transformer and head.
        tokenizer: its tokenizer.
        pictures: unsigned bytes, (Y, X, C) or grey (Y, X); resized to the size of the head.
        captions: one for each; "" is the null prompt.
        times: between 0 (data) and 1 (noise).
        batch: pictures computed at once.
    """
    found = np.zeros((len(pictures), len(times)), dtype=np.float32)
    for start in range(0, len(pictures), batch):
        own = slice(start, start + batch)
        data = _stacked(network, pictures[own])
        noises = [_noise(p, len(times)) for p in data]
        text, mask_BL = read_prompts(network, tokenizer, captions[own])
        for number, time in enumerate(times):
            noise = torch.stack([n[number] for n in noises])
            found[own, number] = _error(network, data, noise, time, text, mask_BL).cpu().numpy()
    return found


@torch.inference_mode()
def classify(
    network: Multimodal,
    tokenizer: Tokenizer,
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    batch: int = BATCH,
    least: int = 16,
) -> np.ndarray:
    """How well each caption fits each picture, (N, K): the higher, the lower the denoising error.

    The diffusion classifier (Li et al. 2023, arXiv:2303.16203, section 3): all captions of a
    picture are compared on the same noise at the same times. After every four draws the worse half
    of the captions that are left is dropped, so that the cost is about 8 K passes; a dropped
    caption scores below all that were kept longer.

    Args:
        network: text transformer and head.
        tokenizer: its tokenizer.
        pictures: unsigned bytes, (Y, X, C) or grey (Y, X).
        captions: what is compared.
        batch: pairs of picture and caption computed at once.
        least: fewest draws before the last two captions are told apart.

    Raises:
        ValueError: there is no caption.
    """
    if not captions:
        raise ValueError("captions must be at least one. Got none instead.")
    text, mask_KL = read_prompts(network, tokenizer, captions)
    rows = [_ranked(network, picture, text, mask_KL, batch, least) for picture in pictures]
    return np.stack(rows) if rows else np.zeros((0, len(captions)), dtype=np.float32)


def _ranked(
    network: Multimodal,
    picture: np.ndarray,
    text: list[tuple[Tensor, Tensor]],
    mask_KL: Tensor,
    batch: int,
    least: int,
) -> np.ndarray:
    """Scores of all captions for one picture, (K,)."""
    data = _stacked(network, [picture])
    count = len(mask_KL)
    rounds = max(-(-least // _ROUND), (count - 1).bit_length())
    noise = _noise(data[0], rounds * _ROUND)
    times = _spread(rounds * _ROUND)
    left = np.arange(count)
    total_K = np.zeros(count, dtype=np.float64)
    score_K = np.zeros(count, dtype=np.float64)
    for number in range(rounds):
        for draw in range(number * _ROUND, (number + 1) * _ROUND):
            for start in range(0, len(left), batch):
                some = left[start : start + batch]
                index = torch.from_numpy(some).to(mask_KL.device)
                own = [(key[index], value[index]) for key, value in text]
                repeated = data.expand(len(some), -1, -1, -1)
                drawn = noise[draw].to(data.device).expand_as(repeated)
                error = _error(network, repeated, drawn, times[draw], own, mask_KL[index])
                total_K[some] += error.double().cpu().numpy()
        # What is still compared stands above all that was dropped in an earlier round.
        score_K[left] = number - _squashed(total_K[left] / ((number + 1) * _ROUND))
        keep = max(2, -(-len(left) // 2))
        left = left[np.argsort(total_K[left], kind="stable")[:keep]]
    return score_K.astype(np.float32)


def _squashed(error_K: np.ndarray) -> np.ndarray:
    """Errors as numbers in [0, 1), in the same order."""
    return np.asarray(error_K / (1 + error_K))


def _spread(count: int) -> list[float]:
    """Times that fill the middle of (0, 1) evenly, each new one far from those before it.

    Multiples of the golden ratio: every beginning of the list is spread out.
    """
    golden = (5**0.5 - 1) / 2
    low = 1 - _LARGEST
    return [low + (_LARGEST - low) * ((0.5 + golden * i) % 1) for i in range(count)]


def _error(
    network: Multimodal,
    data: Tensor,
    noise: Tensor,
    time: float,
    text: list[tuple[Tensor, Tensor]],
    mask_BL: Tensor,
) -> Tensor:
    """Mean squared error of the clean picture, (B,)."""
    time_1 = torch.full((1,), time, device=data.device)
    guess = network.head.denoise(noisy(data, noise.to(data.device), time_1), time_1, text, mask_BL)
    return (guess.float() - data).square().mean(dim=(1, 2, 3))


def _stacked(network: Multimodal, pictures: Sequence[np.ndarray]) -> Tensor:
    device = network.head.txt_in.weight.device
    return torch.stack([picture_inputs.pixels(p, network.head.size) for p in pictures]).to(device)


def _noise(pixels_CYX: Tensor, count: int) -> Tensor:
    """Noise (T, C, Y, X) that a picture's own pixels decide."""
    digest = hashlib.sha256(pixels_CYX.cpu().numpy().tobytes()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn((count, *pixels_CYX.shape), generator=generator)
