"""Samplers: one signature, `sampler(denoise, start, fresh, times) -> pixels`.

`denoise(x_t, t)` gives the clean picture that the network predicts from `x_t` at the single time
`t`; `start` is the noisy picture at `times[0]`; `fresh()` draws new noise; `times` decrease to 0.
"""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor

from tgp_multimodal.diffusion.paths import T_MIN

Denoise = Callable[[Tensor, float], Tensor]
Fresh = Callable[[], Tensor]
Sampler = Callable[[Denoise, Tensor, Fresh, Tensor], Tensor]

# Those of diffusers lie in a file of their own, which is loaded when one of them is asked for.
SAMPLERS = {
    "ancestral": "tgp_multimodal.diffusion.samplers:ancestral",
    "euler": "tgp_multimodal.diffusion.samplers:euler",
    "heun": "tgp_multimodal.diffusion.samplers:heun",
    "dpm": "tgp_multimodal.diffusion.stock_samplers:dpm",
    "unipc": "tgp_multimodal.diffusion.stock_samplers:unipc",
}


def find(name: str) -> Sampler:
    """The sampler of a name in `SAMPLERS`; the first of diffusers' takes seconds to load."""
    module, _, function = SAMPLERS[name].partition(":")
    sampler: Sampler = getattr(importlib.import_module(module), function)
    return sampler


def euler_times(steps: int) -> Tensor:
    """The grid of diffusers' `FlowMatchEulerDiscreteScheduler`, shape (steps + 1,).

    `steps` evenly spaced times from 1 to 0.001, then 0.

    Raises:
        ValueError: `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1. Got {steps} instead.")
    return torch.cat((torch.linspace(1.0, 0.001, steps), torch.zeros(1)))


def euler(denoise: Denoise, start: Tensor, fresh: Fresh, times: Tensor) -> Tensor:
    """First-order steps along the velocity; what the stock pipeline does."""
    x = start
    for now, following in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x = x + (following - now) * (x - denoise(x, now)) / max(now, T_MIN)
    return x


def heun(denoise: Denoise, start: Tensor, fresh: Fresh, times: Tensor) -> Tensor:
    """Second-order steps along the mean of the velocities at both ends.

    Karras et al. 2022, arXiv:2206.00364, algorithm 1. A step that ends below `T_MIN` is an Euler
    step: the velocity there is clamped, and averaging it with the other would leave half of the
    noise.
    """
    x = start
    for now, following in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        first = (x - denoise(x, now)) / max(now, T_MIN)
        guess = x + (following - now) * first
        if following < T_MIN:
            x = guess
            continue
        second = (guess - denoise(guess, following)) / following
        x = x + (following - now) * (first + second) / 2
    return x


def ancestral(denoise: Denoise, start: Tensor, fresh: Fresh, times: Tensor) -> Tensor:
    """Predicts the clean picture and adds back less noise, a part of it fresh, in each step.

    Ho et al. 2020, arXiv:2006.11239, algorithm 2, as Song et al. 2020 write it (arXiv:2010.02502,
    eq. 16 with eta 1), on the straight path: the fresh part is so large that the process is Markov.
    The errors of a little-trained network are not carried along, so that it draws one thing where
    the deterministic samplers blend two. Predictions are clamped to [-1, 1].
    """
    x = start
    for now, following in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        clean = denoise(x, now).clamp(-1, 1)
        if following == 0:
            return clean
        noise = (x - (1 - now) * clean) / now
        kept = (1 - now) * following / (now * (1 - following))  # root of the ratio of the two SNRs
        x = (1 - following) * clean
        x = x + following * (kept * noise + (1 - kept**2) ** 0.5 * fresh())
    return x
