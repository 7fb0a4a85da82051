"""Distances between sets: against formulas, between samples of one distribution and of two."""

import numpy as np
import pytest

from tgp_multimodal.evaluation.distances import (
    coverage,
    frechet_distance,
    kernel_distance,
    kernel_interval,
)


def sample(count, seed, shift=0.0, width=6):
    return np.random.default_rng(seed).standard_normal((count, width)) + shift


def test_kernel_distance_by_hand():
    real, drawn = sample(4, 0), sample(3, 1)

    def kernel(x, y):
        return (x @ y / 6 + 1) ** 3

    within = [np.mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j])
              for s in (real, drawn)]  # fmt: skip
    between = np.mean([kernel(x, y) for x in real for y in drawn])
    assert kernel_distance(real, drawn) == pytest.approx(sum(within) - 2 * between)


def test_kernel_distance_is_zero_in_the_mean_for_one_distribution():
    found = [kernel_distance(sample(40, s), sample(40, 1000 + s)) for s in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)
    assert min(found) < 0
    assert kernel_distance(sample(40, 0), sample(40, 1, shift=1.0)) > max(found)


def test_kernel_interval_covers_the_distance_of_large_samples():
    truth = kernel_distance(sample(3000, 0), sample(3000, 1, shift=0.3))
    inside = 0
    for seed in range(40):
        low, high = kernel_interval(sample(60, 10 + seed), sample(60, 500 + seed, shift=0.3))
        inside += low <= truth <= high
    assert inside >= 34  # fewer come from 40 intervals of 95 % in 3 cases of a thousand


def test_frechet_distance_of_normal_distributions_is_known():
    generator = np.random.default_rng(0)
    real = generator.normal(0, 1, (40_000, 3))
    drawn = generator.normal(2, [1, 2, 3], (40_000, 3))
    assert frechet_distance(real, drawn) == pytest.approx(3 * 4 + 0 + 1 + 4, rel=0.03)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)


def test_coverage_of_a_set_that_has_lost_half():
    real = np.concatenate((sample(60, 0), sample(60, 1, shift=20)))
    found = coverage(real, sample(60, 2))
    assert found.precision > 0.7
    assert 0.35 < found.recall < 0.5
    assert coverage(real, sample(60, 2, shift=100)) == (0, 0)


def test_a_single_picture_has_no_distance():
    with pytest.raises(ValueError, match=r"at least two pictures\. Got 1 and 5"):
        kernel_distance(sample(1, 0), sample(5, 1))
