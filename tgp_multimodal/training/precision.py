"""The precision of a run's arithmetic, chosen by measurement.

Matrix products in bfloat16 are 4-5x faster on some CPUs and slower on others.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

import torch
from torch import Tensor

_REPEATS = 2
_ROUNDS = 3  # of products in turn, of which the best count: other work disturbs some
_HOPELESS = 5.0  # times as slow as the other arithmetic in a first pass: no need to go on
_CLEAR = 1.6  # times as fast in a product of the network's own size: no need to try a step
_PROBE_ROWS = 512


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


def fastest(
    losses: Sequence[tuple[Callable[[], Tensor], float]],
    holder: Any,
    is_timed: bool = False,
    only: str | None = None,
) -> Precision:
    """The faster precision; if one product does not tell, forward and backward are timed in both.

    Args:
        losses: each computes a loss of one batch in the precision of `holder.arithmetic`, and is
            paired with the share of steps that include it.
        holder: has the parameters, whose gradients are dropped, and the attribute `arithmetic`,
            which is set to each precision in turn.
        is_timed: whether the seconds of the answer are wanted in any case.
        only: the answer, if it is known; then at most its seconds are measured.
    """
    names = (only,) if only else _candidates(holder)
    if len(names) == 1 and not is_timed:
        return Precision(names[0])
    seconds = {}
    limits = [math.inf] * len(losses)
    for name in names:
        holder.arithmetic = Precision(name)
        each: list[float] = []
        for (loss, _), limit in zip(losses, limits, strict=True):
            each.append(_seconds(loss, limit))
            if each[-1] > limit:
                break
        else:
            limits = [_HOPELESS * one for one in each]
            seconds[name] = sum(s * share for s, (_, share) in zip(each, losses, strict=True))
        holder.zero_grad(set_to_none=True)
    return Precision(min(seconds, key=lambda n: seconds[n]), seconds)


def _candidates(holder: Any) -> tuple[str, ...]:
    """The precisions that may be faster, by one product with the network's largest matrix.

    CPUs with bfloat16 hardware multiply four times as fast in it and take a step in half the time;
    those without are many times slower.
    """
    weight = max((w for w in holder.parameters() if w.ndim == 2), key=Tensor.numel).detach()
    if weight.device.type != "cpu":
        return ("float32", "bfloat16")
    x = torch.randn(_PROBE_ROWS, weight.shape[1])
    times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(_ROUNDS):
        for dtype, found in times.items():
            found.append(product_seconds(x.to(dtype), weight.T.to(dtype)))
    gain = min(times[torch.float32]) / min(times[torch.bfloat16])
    if gain >= _CLEAR:
        return ("bfloat16",)
    return ("float32",) if gain < 1 / _HOPELESS else ("float32", "bfloat16")


def product_seconds(x: Tensor, other: Tensor) -> float:
    """Seconds of one matrix product on a CPU, the best of a few."""
    times = []
    for _ in range(1 + _REPEATS):
        start = time.perf_counter()
        x @ other
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _seconds(loss: Callable[[], Tensor], limit: float) -> float:
    """Median seconds of a few forward and backward passes, after a warm-up pass.

    If the warm-up takes longer than `limit`, its time is the answer.
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
