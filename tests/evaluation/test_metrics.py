import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, ndcg_score

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
    assert metrics.ndcg_at(10, ranked, relevant) == pytest.approx(gain / ideal)


def test_ndcg_is_scikit_learns_on_full_rankings() -> None:
    rng = np.random.default_rng(0)
    relevance, score = rng.integers(0, 2, (1, 30)), rng.random((1, 30))
    ranked = np.argsort(-score[0]).tolist()
    relevant = set(np.flatnonzero(relevance[0]).tolist())
    expected = ndcg_score(relevance, score, k=10)
    assert metrics.ndcg_at(10, ranked, relevant) == pytest.approx(expected)
