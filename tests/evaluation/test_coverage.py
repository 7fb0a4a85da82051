"""Intervals cover the truth and tests reject as often as they promise, over simulated cards.

Shape letters: S simulations, N items, G groups, M models.
"""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tgp_multimodal.evaluation.leaderboard_items import Items, compare
from tgp_multimodal.evaluation.significance import (
    bootstrap_means,
    bootstrap_p,
    holm,
    intervals_p,
    mcnemar,
)
from tgp_multimodal.evaluation.stats import bootstrap, detectable, mean_of_proportions, wilson


@pytest.mark.parametrize("n", [20, 100, 500])
def test_wilson_covers_95_of_100_whatever_the_share(n: int) -> None:
    """Exact, by the binomial distribution: near 0.95 on average, and never far below."""
    low_N, high_N = np.array([wilson(s, n) for s in range(n + 1)]).T
    shares = np.linspace(0.02, 0.98, 97)
    coverage = [
        scipy_stats.binom.pmf(np.arange(n + 1), n, p)[(low_N <= p) & (p <= high_N)].sum()
        for p in shares
    ]
    assert 0.94 < np.mean(coverage) < 0.96
    assert min(coverage) > 0.83


def test_the_clustered_bootstrap_covers_where_items_of_a_group_are_alike() -> None:
    rng = np.random.default_rng(10)
    group_N = [str(i // 5) for i in range(200)]
    clustered = alone = 0
    for _ in range(150):
        value_N = (np.repeat(rng.normal(size=40), 5) + rng.normal(size=200)).tolist()
        low, high = bootstrap(value_N, group_N, resamples=400)
        clustered += low <= 0 <= high
        low, high = bootstrap(value_N, resamples=400)
        alone += low <= 0 <= high
    assert 0.90 < clustered / 150 < 0.99
    assert alone / 150 < 0.85  # which is why items of one file are drawn together


def test_the_bootstrap_of_a_ratio_covers_it() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(250):
        size_N = rng.integers(50, 500, 150).astype(float)
        nats_N = size_N * rng.gamma(9, 0.2, 150)
        low, high = bootstrap(nats_N.tolist(), weights=size_N.tolist(), resamples=400)
        hits += low <= 1.8 <= high
    assert 0.91 < hits / 250 < 0.98


def test_the_mean_of_proportions_covers_it_with_few_items_on_each_axis() -> None:
    rng = np.random.default_rng(12)
    shares, sizes = np.array([0.02, 0.1, 0.5, 0.8, 0.95, 1.0]), [20] * 6
    hits_SA = rng.binomial(20, shares, size=(2000, 6))
    bounds = [mean_of_proportions(hits.tolist(), sizes) for hits in hits_SA]
    coverage = np.mean([low <= shares.mean() <= high for low, high in bounds])
    assert 0.94 < coverage < 0.995  # it errs to the wide side


@pytest.mark.parametrize("disagreements", [5, 12, 40, 150, 1000])
def test_mcnemar_rejects_equal_models_at_most_as_often_as_it_says(disagreements: int) -> None:
    p_N = np.array([mcnemar(k, disagreements - k) for k in range(disagreements + 1)])
    mass_N = scipy_stats.binom.pmf(np.arange(disagreements + 1), disagreements, 0.5)
    for level in (0.01, 0.05, 0.2):
        assert mass_N[p_N < level].sum() <= level
    if disagreements >= 150:
        assert mass_N[p_N < 0.05].sum() > 0.03  # and it is not idle


def test_holm_keeps_the_chance_of_any_false_alarm_at_five_in_a_hundred() -> None:
    """Ten comparisons, seven of equal models: Bonferroni's promise with more found."""
    rng = np.random.default_rng(13)
    shift_M = np.array([0.0] * 7 + [3.5] * 3)
    alarms, found, bonferroni = 0, 0, 0
    for z_M in rng.normal(size=(3000, 10)) + shift_M:
        p_M = [math.erfc(abs(z) / math.sqrt(2)) for z in z_M]
        is_rejected_M = np.array(holm(p_M)) < 0.05
        alarms += bool(is_rejected_M[:7].any())
        found += int(is_rejected_M[7:].sum())
        bonferroni += sum(p < 0.005 for p in p_M[7:])
    assert 0.025 < alarms / 3000 < 0.06
    assert found > bonferroni


def test_the_paired_bootstrap_rejects_equal_models_of_grouped_items_as_promised() -> None:
    rng = np.random.default_rng(14)
    group_N, rejected = np.repeat(np.arange(60), 4), 0
    for _ in range(200):
        score_GM = rng.normal(size=(60, 1)) + 0.5 * rng.normal(size=(60, 2))
        score_NM = score_GM[group_N] + 0.2 * rng.normal(size=(240, 2))
        mean_RM = bootstrap_means(score_NM, np.ones(240), group_N)
        rejected += bootstrap_p(mean_RM[:, 0] - mean_RM[:, 1]) < 0.05
    assert 0.015 < rejected / 200 < 0.105


@pytest.mark.parametrize("groups", [2, 3, 5, 12])
def test_few_groups_neither_tell_equal_models_apart_nor_have_narrow_intervals(groups: int) -> None:
    rng = np.random.default_rng(17)
    group_N, rejected, covered = np.repeat(np.arange(groups), 8), 0, 0
    for _ in range(200):
        score_GM = rng.normal(size=(groups, 1)) + 0.5 * rng.normal(size=(groups, 2))
        score_NM = score_GM[group_N] + 0.2 * rng.normal(size=(8 * groups, 2))
        mean_RM = bootstrap_means(score_NM, np.ones(8 * groups), group_N)
        rejected += bootstrap_p(mean_RM[:, 0] - mean_RM[:, 1], groups) < 0.05
        low, high = bootstrap(score_NM[:, 0].tolist(), [str(g) for g in group_N], resamples=1000)
        covered += low <= 0 <= high
    assert rejected / 200 < 0.1
    assert covered / 200 > 0.9


def simulated(rng: np.random.Generator, shares: list[float], n: int) -> list[Items]:
    """Right and wrong answers of models of known share; harder items are harder for all."""
    hard_N = rng.random(n)
    mixed_MN = [np.where(rng.random(n) < 0.6, hard_N, rng.random(n)) for _ in shares]
    ids = tuple(map(str, range(n)))
    return [
        Items([], ids, (mixed_N < share).astype(float), np.ones(n), ids)
        for mixed_N, share in zip(mixed_MN, shares, strict=True)
    ]


def numbers(items: list[Items]) -> list[tuple[float, float, float]]:
    scores = [i.score_N for i in items if i.score_N is not None]
    return [(float(s.mean()), *wilson(float(s.sum()), len(s))) for s in scores]


def test_a_table_of_equal_models_is_one_rank_group() -> None:
    rng = np.random.default_rng(15)
    torn = 0
    for _ in range(300):
        items = simulated(rng, [0.7] * 4, 200)
        items.sort(key=lambda i: -float(np.mean(i.score_N)))
        comparison = compare(numbers(items), items, 0.05)
        assert comparison.tests == ["exact McNemar"]
        torn += max(comparison.group) > 1
    assert torn / 300 <= 0.06


def test_the_smallest_visible_gap_is_seen_in_four_of_five_tries() -> None:
    """By intervals, as its name says; the paired test of the same items sees it more often."""
    rng = np.random.default_rng(16)
    n, share = 400, 0.6
    gap = detectable([wilson(share * n, n)] * 2)
    apart = paired = 0
    for _ in range(600):
        (one,), (two,) = simulated(rng, [share], n), simulated(rng, [share + gap], n)
        apart += intervals_p(*numbers([one, two])) < 0.05
        items = simulated(rng, [share + gap, share], n)
        paired += compare(numbers(items), items, 0.05).p_against_best[1] < 0.05
    assert 0.75 < apart / 600 < 0.85
    assert paired / 600 > apart / 600 + 0.05
