import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, ndcg_score

from tgp_multimodal.evaluation import metrics


def test_accuracy_counts_equal_ones() -> None:
    assert metrics.accuracy(["a", "b", "c", "a"], ["a", "c", "c", "b"]) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, predicted = rng.integers(0, 4, 60), rng.integers(0, 3 + seed, 60)
    expected = f1_score(target, predicted, average="macro", zero_division=0)
    assert metrics.macro_f1(predicted.tolist(), target.tolist()) == pytest.approx(expected)


def test_ranks_of_a_known_ranking() -> None:
    ranked, relevant = ["d", "a", "c", "b"], {"a", "b", "z"}
    assert metrics.reciprocal_rank(ranked, relevant) == 0.5
    assert metrics.reciprocal_rank(ranked, {"z"}) == 0
    assert metrics.recall_at(1, ranked, relevant) == 0
    assert metrics.recall_at(4, ranked, relevant) == pytest.approx(2 / 3)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    relevance = dict.fromkeys(relevant, 1.0)
    assert metrics.ndcg_at(10, ranked, relevance) == pytest.approx(gain / ideal)
    assert metrics.average_precision(ranked, relevant) == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert metrics.average_precision(ranked, {"z"}) == 0


@pytest.mark.parametrize("grades", [2, 5])
def test_ndcg_is_scikit_learns_on_full_rankings(grades: int) -> None:
    rng = np.random.default_rng(0)
    relevance, score = rng.integers(0, grades, (1, 30)), rng.random((1, 30))
    ranked = np.argsort(-score[0]).tolist()
    expected = ndcg_score(relevance, score, k=10)
    judged = dict(enumerate(relevance[0].astype(float).tolist()))
    assert metrics.ndcg_at(10, ranked, judged) == pytest.approx(expected)


def test_a_judgement_below_0_gains_nothing() -> None:
    assert metrics.ndcg_at(10, ["d1", "d3"], {"d1": 1.0, "d2": -1.0}) == 1
    assert metrics.ndcg_at(10, ["d2", "d1"], {"d1": 1.0, "d2": -2.0}) == pytest.approx(
        1 / math.log2(3)
    )


def test_average_precision_is_scikit_learns_on_full_rankings() -> None:
    rng = np.random.default_rng(1)
    relevance, score = rng.integers(0, 2, 40), rng.random(40)
    ranked = np.argsort(-score).tolist()
    found = metrics.average_precision(ranked, set(np.flatnonzero(relevance).tolist()))
    assert found == pytest.approx(average_precision_score(relevance, score))


def test_a_metric_with_an_ideal_is_best_there() -> None:
    for metric, higher, better, worse in (
        ("accuracy", True, 0.9, 0.8),
        ("bits_per_byte", False, 0.8, 0.9),
        ("stereotype_share", True, 0.45, 0.6),
        ("stereotype_share", True, 0.52, 0.45),
    ):
        assert metrics.quality(metric, higher, better) > metrics.quality(metric, higher, worse)
        best = metrics.perfect(metric, higher)
        assert metrics.quality(metric, higher, best) >= metrics.quality(metric, higher, better)
    assert metrics.direction("stereotype_share", True) == "0.5 is best"
    assert metrics.direction("kid", False) == "lower is better"
    assert metrics.IDEAL.keys() == metrics.SIDES.keys()
