"""The paired tests against scipy, closed forms and simulated truth."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tgp_multimodal.evaluation.significance import (
    bootstrap_means,
    bootstrap_p,
    holm,
    intervals_p,
    mcnemar,
    rank_groups,
)
from tgp_multimodal.evaluation.stats import Z_95


@pytest.mark.parametrize(
    ("wins", "losses"),
    [(0, 0), (1, 0), (5, 0), (7, 3), (3, 7), (40, 40), (900, 1100), (9000, 9300)],
)
def test_mcnemar_is_the_exact_binomial_test(wins, losses):
    expected = scipy_stats.binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    assert mcnemar(wins, losses) == pytest.approx(expected, rel=1e-8)


def test_mcnemar_closed_form():
    assert mcnemar(6, 0) == pytest.approx(2 * 0.5**6, rel=1e-12)


def test_bootstrap_spread_is_that_of_the_mean():
    generator = np.random.default_rng(1)
    for items in (200, 5_000):
        score_NM = generator.normal(size=(items, 2))
        mean_RM = bootstrap_means(score_NM, np.ones(items), np.arange(items))
        assert mean_RM.mean(0) == pytest.approx(score_NM.mean(0), abs=0.1 / math.sqrt(items))
        # Blocks beyond 512 make the spread itself uncertain by about 3 %.
        assert mean_RM.std(0) == pytest.approx(score_NM.std(0) / math.sqrt(items), rel=0.1)


def test_bootstrap_p_agrees_with_the_paired_t_test():
    generator = np.random.default_rng(2)
    difficulty_N = generator.normal(size=400)
    one_N = difficulty_N + 0.3 * generator.normal(size=400) + 0.03
    two_N = difficulty_N + 0.3 * generator.normal(size=400)
    mean_RM = bootstrap_means(np.stack([one_N, two_N], 1), np.ones(400), np.arange(400))
    expected = scipy_stats.ttest_rel(one_N, two_N).pvalue
    assert 0.001 < expected < 0.5
    assert bootstrap_p(mean_RM[:, 0] - mean_RM[:, 1]) == pytest.approx(
        expected, rel=0.15, abs=0.003
    )


def test_a_difference_beyond_all_resamples_survives_many_comparisons():
    """With 300 pairs Holm multiplies by 300; two in ten thousand would not be told any more."""
    generator = np.random.default_rng(4)
    score_NM = generator.normal(size=(400, 2)) + np.array([0.5, 0.0])
    mean_RM = bootstrap_means(score_NM, np.ones(400), np.arange(400))
    found = bootstrap_p(mean_RM[:, 0] - mean_RM[:, 1])
    expected = scipy_stats.ttest_rel(*score_NM.T).pvalue
    assert expected < 1e-8
    assert 0.5 < np.log(found) / np.log(expected) < 2


def test_three_groups_that_agree_are_no_certainty():
    score_NM = np.array([[0.5, 0.0], [0.4, 0.0], [0.6, 0.0]])
    mean_RM = bootstrap_means(score_NM, np.ones(3), np.arange(3))
    found = bootstrap_p(mean_RM[:, 0] - mean_RM[:, 1], 3)
    assert found == 0.25  # three signs that agree
    few = [[0.5], [0.4], [0.6], [0.3], [0.7], [0.1], [0.9], [0.2]]
    mean_RM = bootstrap_means(np.array(few), np.ones(8), np.arange(8))
    expected = scipy_stats.ttest_1samp(np.ravel(few), 0).pvalue
    assert bootstrap_p(mean_RM[:, 0], 8) == pytest.approx(max(expected, 2**-7), rel=0.1)


def test_bootstrap_weighs_items_and_draws_groups_whole():
    score_NM = np.array([[0.0], [0.0], [1.0], [1.0]])
    weight_N = np.array([1.0, 1.0, 3.0, 3.0])
    mean_RM = bootstrap_means(score_NM, weight_N, np.array([0, 0, 1, 1]))
    assert set(np.round(mean_RM[:, 0], 6)) == {0.0, 0.75, 1.0}


def test_bootstrap_p_rejects_as_often_as_it_should():
    generator = np.random.default_rng(3)
    p_values = []
    for _ in range(400):
        score_NM = generator.normal(size=(60, 1)) + 0.5 * generator.normal(size=(60, 2))
        mean_RM = bootstrap_means(score_NM, np.ones(60), np.arange(60))
        p_values.append(bootstrap_p(mean_RM[:, 0] - mean_RM[:, 1]))
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09


def test_intervals_p_closed_form():
    half = Z_95 * 0.1
    one, two = (0.5, 0.5 - half, 0.5 + half), (0.8, 0.8 - half, 0.8 + half)
    expected = 2 * scipy_stats.norm.sf(0.3 / (0.1 * math.sqrt(2)))
    assert intervals_p(one, two) == pytest.approx(expected, rel=1e-9)
    assert intervals_p(one, one) == 1.0
    # Of no width are intervals of one group, which tell nothing of another.
    assert intervals_p((1.0, 1.0, 1.0), (0.9, 0.9, 0.9)) == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_rank_groups_are_runs_led_by_the_best_left():
    score = [10, 9, 7, 6.5, 2]
    assert rank_groups(5, lambda i, j: score[i] - score[j] > 2) == [1, 1, 2, 2, 3]
    assert rank_groups(1, lambda i, j: True) == [1]
    assert rank_groups(0, lambda i, j: True) == []
