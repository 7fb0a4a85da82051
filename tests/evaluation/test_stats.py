import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.optimize import brentq

from tgp_multimodal.evaluation.stats import (
    Z_95,
    Interval,
    bootstrap,
    mean_of_proportions,
    share,
    students_p,
    widened,
    wilson,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (71, 100), (1, 5000)])
def test_wilson_bounds_are_where_the_score_test_just_rejects(successes: int, n: int) -> None:
    p = successes / n

    def excess(q: float) -> float:
        return abs(p - q) - Z_95 * math.sqrt(q * (1 - q) / n)

    low, high = wilson(successes, n)
    assert low == pytest.approx(brentq(excess, 1e-12, min(p, 1 - 1e-9)) if p > 0 else 0, abs=1e-9)
    assert high == pytest.approx(brentq(excess, max(p, 1e-9), 1 - 1e-12) if p < 1 else 1, abs=1e-9)


def test_wilson_gives_the_textbook_values() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611252), abs=1e-6)


def test_wilson_covers_the_truth_in_95_of_100_experiments() -> None:
    successes = np.random.default_rng(0).binomial(80, 0.3, size=4000)
    bounds = [wilson(int(s), 80) for s in range(81)]
    covered = np.mean([bounds[s].low <= 0.3 <= bounds[s].high for s in successes])
    assert 0.935 <= covered <= 0.965


def test_wilson_needs_an_item() -> None:
    with pytest.raises(ValueError, match=r"n must be at least 1\. Got 0 instead"):
        wilson(0, 0)


def test_bootstrap_of_a_mean_is_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(5, 2, size=400)
    half = Z_95 * values.std() / 20
    low, high = bootstrap(values.tolist())
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_bootstrap_of_a_ratio_follows_the_delta_method() -> None:
    rng = np.random.default_rng(2)
    weights = rng.uniform(50, 150, 400)
    values = weights * rng.normal(2, 0.3, 400)
    ratio = values.sum() / weights.sum()
    spread = np.std(values - ratio * weights) / weights.mean() / 20
    low, high = bootstrap(values.tolist(), weights=weights.tolist())
    assert (low + high) / 2 == pytest.approx(ratio, abs=0.002)
    assert high - low == pytest.approx(2 * Z_95 * spread, rel=0.05)


def test_copies_in_one_group_add_no_certainty() -> None:
    values = np.random.default_rng(3).normal(size=50)
    once = bootstrap(values.tolist())
    groups = [str(i) for i in range(50)] * 9
    clustered = bootstrap(np.tile(values, 9).tolist(), groups)
    fooled = bootstrap(np.tile(values, 9).tolist())
    assert clustered.high - clustered.low == pytest.approx(once.high - once.low, rel=0.05)
    assert fooled.high - fooled.low == pytest.approx((once.high - once.low) / 3, rel=0.05)


def test_bootstrap_is_a_function_of_its_arguments() -> None:
    values = np.random.default_rng(4).random(30).tolist()
    assert bootstrap(values, seed=4) == bootstrap(values, seed=4)
    assert bootstrap(values, seed=4) != bootstrap(values, seed=5)


def test_bootstrap_covers_the_truth_in_95_of_100_experiments() -> None:
    # 100 items, so that the percentile interval is near its nominal coverage.
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        low, high = bootstrap(rng.exponential(size=100).tolist(), resamples=400)
        hits += low <= 1 <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_mean_of_proportions_of_one_is_wilson_and_does_not_collapse() -> None:
    assert mean_of_proportions([7], [10]) == pytest.approx(wilson(7, 10))
    low, high = mean_of_proportions([30] * 6, [30] * 6)
    assert high == 1
    assert low == pytest.approx(1 - (1 - wilson(30, 30).low) / math.sqrt(6))


def test_mean_of_proportions_is_narrower_than_each_part() -> None:
    low, high = mean_of_proportions([15] * 4, [30] * 4)
    single = wilson(15, 30)
    assert high - low == pytest.approx((single.high - single.low) / 2)


def test_a_share_is_the_bootstraps_between_its_ends_and_wilsons_at_them() -> None:
    right, named = [2.0, 0.0, 4.0, 0.0], [2.0, 3.0, 5.0, 0.0]
    groups = ["a", "a", "b", "c"]
    low, high = bootstrap(right, groups, named)
    assert share(right, named, groups) == (low, min(1, high))
    assert share([0.0] * 4, named, groups) == wilson(0, 2)  # c names nothing
    assert share(named, named, groups) == wilson(2, 2)
    assert share([0.0] * 4, named) == wilson(0, 3)
    assert share([0.0], [0.0]) == wilson(0, 1)


@pytest.mark.parametrize("freedom", [1, 2, 3, 8, 29])
def test_students_t_is_scipys(freedom: int) -> None:
    for t in (0.0, 0.3, 2.5, 30.0):
        assert students_p(t, freedom) == pytest.approx(2 * scipy_stats.t.sf(t, freedom), abs=1e-13)


def test_intervals_of_few_groups_are_students() -> None:
    found = widened(Interval(0.4, 0.6), 0.5, 3, least=0.0)
    factor = scipy_stats.t.ppf(0.975, 2) / scipy_stats.norm.ppf(0.975) * math.sqrt(1.5)
    assert found == pytest.approx((max(0.0, 0.5 - 0.1 * factor), 0.5 + 0.1 * factor))
    assert widened(Interval(0.4, 0.6), 0.5, 1) == widened(Interval(0.4, 0.6), 0.5, 30) == (0.4, 0.6)
