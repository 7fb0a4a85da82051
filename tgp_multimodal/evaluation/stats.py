"""Intervals: every number that leaves the harness has one.

Shape letters: G groups, R resamples.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

Z_95 = 1.959963984540054
_Z_POWER = 0.8416212335729143  # 80 % of a normal distribution lie below
_CHUNK = 1_000
MANY = 30  # groups from which percentiles are as wide as they should be


class Interval(NamedTuple):
    """A 95 % interval around a value."""

    low: float
    high: float


def wilson(successes: float, n: int) -> Interval:
    """Interval of a proportion (Wilson 1927, equation 6 solved): sound at 0, 1 and small n."""
    if n <= 0:
        raise ValueError(f"n must be at least 1. Got {n} instead.")
    p, z2 = successes / n, Z_95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return Interval(max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def bootstrap(
    values: Sequence[float],
    groups: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> Interval:
    """Percentile interval of sum(values) / sum(weights), whole groups resampled (Efron 1979).

    With weights of one, the default, that is the mean. Items of one group (pieces of one file, say)
    are drawn together, since they are not independent.

    Args:
        values: one number an item.
        groups: name of each item's group; each item its own where None.
        weights: one number an item, for ratios such as nats per byte.
        seed: of the draws; equal input and seed give an equal interval.
        resamples: how often.
    """
    value_N = np.asarray(values, dtype=np.float64)
    if not value_N.size:
        raise ValueError("values must hold at least one number. Got none instead.")
    weight_N = np.ones_like(value_N) if weights is None else np.asarray(weights, np.float64)
    index_N = np.arange(len(value_N))
    if groups is not None:
        index_N = np.unique(np.asarray(groups), return_inverse=True)[1]
    value_G = np.bincount(index_N, value_N)
    weight_G = np.bincount(index_N, weight_N)
    found = _resampled(value_G.tobytes(), weight_G.tobytes(), seed, resamples)
    least = 0.0 if value_N.min() >= 0 else -math.inf
    return widened(found, float(value_N.sum() / max(weight_N.sum(), 1e-300)), len(value_G), least)


def widened(
    found: Interval, value: float, groups: int, least: float = -math.inf, most: float = math.inf
) -> Interval:
    """Widens a percentile interval of few groups as Student's t does.

    Percentile intervals of three groups cover the truth in 79 % of cases: the resamples' variance
    is (G - 1) / G of what it should be, and their tails are normal. One group tells no width.

    Args:
        found: the interval of the resamples.
        value: the estimate that it is around.
        groups: how many were resampled.
        least: the smallest value there may be.
        most: the largest one.
    """
    low, high = min(found.low, value), max(found.high, value)
    if 1 < groups < MANY:
        factor = _students_quantile(groups - 1) / Z_95 * math.sqrt(groups / (groups - 1))
        low, high = value - factor * (value - low), value + factor * (high - value)
    return Interval(max(low, least), min(high, most))


@lru_cache(maxsize=8)
def _resampled(value_G: bytes, weight_G: bytes, seed: int, resamples: int) -> Interval:
    """The interval of `bootstrap`; kept, since whoever checks a number asks for the same again."""
    values, weights = np.frombuffer(value_G), np.frombuffer(weight_G)
    generator = np.random.default_rng(seed)
    count = len(values)
    replicates = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)  # in chunks, for memory's sake
        drawn_RG = generator.multinomial(count, np.full(count, 1 / count), size=size)
        replicates.append(drawn_RG @ values / np.maximum(drawn_RG @ weights, 1e-300))
    low, high = np.quantile(np.concatenate(replicates), [0.025, 0.975])
    return Interval(float(low), float(high))


def students_p(t: float, freedom: int) -> float:
    """Two-sided p-value of Student's t (Abramowitz & Stegun 1964, equations 26.7.3 and 26.7.4)."""
    angle, is_odd = math.atan2(abs(t), math.sqrt(freedom)), freedom % 2
    cosine = math.cos(angle)
    term, total = cosine**is_odd, 0.0
    for k in range(is_odd, freedom - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    within = math.sin(angle) * total
    return 1 - 2 / math.pi * (angle + within) if is_odd else 1 - within


@lru_cache
def _students_quantile(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t, by bisection."""
    low, high = 1.9, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if students_p(middle, freedom) > 0.05 else (low, middle)
    return low


def share(
    right: Sequence[float], named: Sequence[float], groups: Sequence[str] | None = None
) -> Interval:
    """Interval of sum(right) / sum(named), whole groups resampled, sound at 0 and 1.

    Where nothing or everything that is named is right, all resamples are equal and the bootstrap
    has no width; then Wilson's interval is used, with the number of groups that name something.

    Args:
        right: part of `named` that is right, one number an item; for F1 twice the hits.
        named: how much an item counts; for F1 the true and the predicted ones together.
        groups: name of each item's group; each item its own where None.
    """
    total, hits = sum(named), sum(right)
    if 0 < hits < total:
        low, high = bootstrap(right, groups, named)
        return Interval(low, min(1.0, high))
    names = groups if groups is not None else [str(place) for place in range(len(right))]
    count = max(1, len({name for name, n in zip(names, named, strict=True) if n}))
    return wilson(count if hits else 0, count)


def mean_of_proportions(successes: Sequence[float], sizes: Sequence[int]) -> Interval:
    """Interval of the plain mean of independent proportions (Zou & Donner 2008, MOVER).

    Each proportion's distance to its own Wilson bound takes the place of its standard error, so
    that the interval does not collapse where all are 0 or 1.
    """
    centres = [s / n for s, n in zip(successes, sizes, strict=True)]
    bounds = [wilson(s, n) for s, n in zip(successes, sizes, strict=True)]
    below = math.sqrt(sum((p - b.low) ** 2 for p, b in zip(centres, bounds, strict=True)))
    above = math.sqrt(sum((b.high - p) ** 2 for p, b in zip(centres, bounds, strict=True)))
    count, mean = len(centres), sum(centres) / len(centres)
    return Interval(max(0.0, mean - below / count), min(1.0, mean + above / count))


def detectable(intervals: Sequence[tuple[float, float]]) -> float:
    """The difference of two models on separate samples of this size that shows with 80 % power.

    (z_0.975 + z_0.8) standard errors of a difference (Cohen 1988, section 2.4), the standard error
    being that of the interval of median width. Models that answer the same items are compared in
    pairs and show smaller gaps.

    Args:
        intervals: low and high end of each model's 95 % interval.
    """
    widths = sorted(high - low for low, high in intervals)
    error = widths[len(widths) // 2] / (2 * Z_95)
    return (Z_95 + _Z_POWER) * math.sqrt(2) * error
