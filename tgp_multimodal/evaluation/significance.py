"""Paired tests between models on the same items, and the rank groups that follow from them.

Two models that answered the same questions are compared question by question: those that both got
right say nothing, so a paired test sees differences that two overlapping intervals hide. Many pairs
are compared at once, so their p-values pass through Holm's correction.

Shape letters: N items, M models, R resamples.
"""

import math
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from tgp_multimodal.evaluation.stats import MANY, Z_95, students_p

RESAMPLES = 10_000
MAX_BLOCKS = 512


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided p-value of `wins` against `losses` under a fair coin (McNemar 1947, exact form).

    Exact and not chi-squared, because small cards have few disagreements. Log-gammas instead of
    binomials keep it cheap for many items; 1e-10 relative.

    Args:
        wins: items that only the first model got right.
        losses: items that only the second model got right.
    """
    trials, fewer = wins + losses, min(wins, losses)
    log_total = math.lgamma(trials + 1) - trials * math.log(2)
    tail = math.fsum(
        math.exp(log_total - math.lgamma(k + 1) - math.lgamma(trials - k + 1))
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * tail)


def bootstrap_means(
    score_NM: np.ndarray, weight_N: np.ndarray, group_N: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Weighted mean of each model's scores in each resample of the groups, shape (R, M).

    One resample serves all models: that makes differences of columns paired. Beyond `MAX_BLOCKS`
    groups they are dealt at random into that many blocks, and blocks are drawn: the variance of a
    mean stays the same in expectation, and the cost no longer grows with N.

    Args:
        score_NM: one number an item and model.
        weight_N: one an item.
        group_N: number of each item's group, from 0; groups are drawn whole.
        seed: of the draws; equal input and seed give equal means.
    """
    groups = int(group_N.max()) + 1
    blocks = min(groups, MAX_BLOCKS)
    block_N = (np.random.default_rng(seed).permutation(groups) % blocks)[group_N]
    columns = [np.bincount(block_N, score_N * weight_N, blocks) for score_N in score_NM.T]
    drawn = _draws(blocks, seed)
    mass_R = drawn @ np.bincount(block_N, weight_N, blocks)
    return drawn @ np.stack(columns, axis=1) / mass_R[:, None]


@lru_cache(maxsize=2)
def _draws(blocks: int, seed: int) -> np.ndarray:
    """How often each block is drawn in each resample; kept, for it knows nothing of the scores."""
    even = np.full(blocks, 1 / blocks)
    return np.random.default_rng(seed).multinomial(blocks, even, size=RESAMPLES).astype(np.float64)


def bootstrap_p(difference_R: np.ndarray, groups: int = MAX_BLOCKS) -> float:
    """Two-sided p-value that a difference is zero: twice the smaller share of resamples beyond it.

    One is added to count and total (Davison & Hinkley 1997, section 4.2).
    Where no resample lies beyond, a normal tail with their mean and deviation is taken: a share
    cannot fall below 2 / (R + 1), which is not significant after Holm's correction of many pairs.
    Few groups have wider tails than either: their p-value is at least that of Student's t, and that
    of a sign test in which all groups agree.

    Args:
        difference_R: difference of two means in each resample.
        groups: how many groups were resampled; at least two.
    """
    beyond = min(int(np.sum(difference_R <= 0)), int(np.sum(difference_R >= 0)))
    share = min(1.0, 2 * (beyond + 1) / (len(difference_R) + 1))
    if beyond and groups >= MANY:
        return share
    mean = abs(float(np.mean(difference_R)))
    deviation = max(float(np.std(difference_R)) * math.sqrt(groups / (groups - 1)), 1e-12 * mean)
    if groups >= MANY:
        return max(sys.float_info.min, math.erfc(mean / deviation / math.sqrt(2)))
    students = students_p(mean / deviation, groups - 1) if deviation else 1.0
    return min(1.0, max(share, students, 2.0 ** (1 - groups)))


def intervals_p(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """Two-sided normal p-value from two (value, low, high), 95 %, taken as independent.

    The fallback without items; where both models saw the same ones it errs towards a tie.
    """
    error = math.hypot(first[2] - first[1], second[2] - second[1]) / (2 * Z_95)
    if error == 0:  # one group of items each, which tells nothing of another
        return 1.0
    return math.erfc(abs(first[0] - second[0]) / error / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in the given order (Holm 1979; family-wise error)."""
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = running
    return corrected


def rank_groups(models: int, differ: Callable[[int, int], bool]) -> list[int]:
    """Group, from 1, of each of `models` models that are sorted from best to worst.

    The best model without a group leads one, and takes along all that follow up to the first that
    differs from it: groups are unbroken runs of the sorted table.
    """
    groups: list[int] = []
    leader = 0
    for place in range(models):
        if place and differ(leader, place):
            leader = place
            groups.append(groups[-1] + 1)
        else:
            groups.append(groups[-1] if groups else 1)
    return groups
