"""Samplers: one signature, `sampler(denoise, noise, times) -> pixels`.

`denoise(x_t, t)` gives the clean picture that the network sees in `x_t` at the single time `t`;
`times` fall from 1 to 0.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tgp_multimodal.diffusion.paths import T_MIN

Denoise = Callable[[Tensor, float], Tensor]


def euler_times(steps: int) -> Tensor:
    """The grid of diffusers' `FlowMatchEulerDiscreteScheduler`, shape (steps + 1,).

    `steps` evenly spaced times from 1 to 0.001, then 0.

    Raises:
        ValueError: `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1. Got {steps} instead.")
    return torch.cat((torch.linspace(1.0, 0.001, steps), torch.zeros(1)))


def euler(denoise: Denoise, noise: Tensor, times: Tensor) -> Tensor:
    """First-order steps along the velocity; what the stock pipeline does."""
    x = noise
    for now, following in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x = x + (following - now) * (x - denoise(x, now)) / max(now, T_MIN)
    return x


def heun(denoise: Denoise, noise: Tensor, times: Tensor) -> Tensor:
    """Second-order steps along the mean of the velocities at both ends.

    Karras et al. 2022, arXiv:2206.00364, algorithm 1.
    """
    x = noise
    for now, following in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        first = (x - denoise(x, now)) / max(now, T_MIN)
        guess = x + (following - now) * first
        if following == 0:
            return guess
        second = (guess - denoise(guess, following)) / max(following, T_MIN)
        x = x + (following - now) * (first + second) / 2
    return x


SAMPLERS: dict[str, Callable[[Denoise, Tensor, Tensor], Tensor]] = {"euler": euler, "heun": heun}
