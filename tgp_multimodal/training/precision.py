"""The arithmetic of a run, chosen by measurement.

Products in bfloat16 are 4-5x faster on some processors and slower on others.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

import torch
from torch import Tensor

_REPEATS = 2
_HOPELESS = 5.0  # times as slow as the other arithmetic in its first pass: no need to repeat
_PROBE_SIZE = 256


class Precision:
    """An arithmetic by name; weights are float32 in both.

    Args:
        name: "float32", or "bfloat16" for matrix products in bfloat16 (autocast).
        seconds: measured seconds of a training step by name, if it was measured.
    """

    def __init__(self, name: str, seconds: dict[str, float] | None = None) -> None:
        if name not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16. Got {name!r} instead.")
        self.name, self.seconds = name, seconds or {}

    @property
    def dtype(self) -> torch.dtype:
        """Type of the matrix products."""
        return torch.bfloat16 if self.name == "bfloat16" else torch.float32

    def autocast(self, device: str) -> AbstractContextManager[Any]:
        """The context in which a loss is computed."""
        return torch.autocast(device, self.dtype, enabled=self.name == "bfloat16")


def fastest(losses: Mapping[Callable[[], Tensor], float], holder: Any) -> Precision:
    """Times forward and backward in both arithmetics and takes the faster.

    Args:
        losses: each computes a loss of one batch under the arithmetic in `holder.arithmetic`; the
            value is the share of steps that have it.
        holder: has the attribute `arithmetic`, which is set in turn, and the parameters; their
            gradients are dropped.
    """
    seconds = {}
    limits = [math.inf] * len(losses)
    for name in ("float32", "bfloat16"):
        if name == "bfloat16" and _is_hopeless(holder):
            break
        holder.arithmetic = Precision(name)
        each = [_seconds(loss, limit) for loss, limit in zip(losses, limits, strict=True)]
        limits = [_HOPELESS * one for one in each]
        seconds[name] = sum(s * share for s, share in zip(each, losses.values(), strict=True))
        holder.zero_grad(set_to_none=True)
    return Precision(min(seconds, key=lambda n: seconds[n]), seconds)


def _is_hopeless(holder: Any) -> bool:
    """Whether a processor has no bfloat16 worth the name, by one small product."""
    if next(holder.parameters()).device.type != "cpu":
        return False
    x = torch.randn(_PROBE_SIZE, _PROBE_SIZE)
    seconds = {dtype: product_seconds(x.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    return seconds[torch.bfloat16] > _HOPELESS * seconds[torch.float32]


def product_seconds(x: Tensor) -> float:
    """Seconds of a square matrix times itself, the best of a few."""
    times = []
    for _ in range(1 + _REPEATS):
        start = time.perf_counter()
        x @ x
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _seconds(loss: Callable[[], Tensor], limit: float) -> float:
    """Median of a few forward and backward passes, after one that does not count.

    Unless that one takes longer than `limit`: then it is the answer.
    """
    times: list[float] = []
    for _ in range(1 + _REPEATS):
        start = time.perf_counter()
        loss().backward()  # type: ignore[no-untyped-call]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if times[0] > limit:
            return times[0]
    return median(times[1:])
