"""Numbers from predictions."""

import math
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np


def accuracy(predictions: Sequence[Hashable], targets: Sequence[Hashable]) -> float:
    """Share of predictions that equal their target."""
    return sum(p == t for p, t in zip(predictions, targets, strict=True)) / len(targets)


def macro_f1(predictions: Sequence[Hashable], targets: Sequence[Hashable]) -> float:
    """Mean over classes of F1, classes being all that occur in targets or predictions.

    A class without a true positive counts 0, as in scikit-learn's `f1_score(average="macro")`.
    """
    pairs = list(zip(predictions, targets, strict=True))
    scores = []
    for label in {*predictions, *targets}:
        hits = sum(p == t == label for p, t in pairs)
        named = sum((p == label) + (t == label) for p, t in pairs)
        scores.append(2 * hits / named)
    return sum(scores) / len(scores)


def reciprocal_rank(ranked: Sequence[Hashable], relevant: AbstractSet[Hashable]) -> float:
    """One over the rank of the first relevant document; 0 if there is none."""
    ranks = (i for i, document in enumerate(ranked, 1) if document in relevant)
    return 1 / next(ranks, math.inf)


def recall_at(k: int, ranked: Sequence[Hashable], relevant: AbstractSet[Hashable]) -> float:
    """Share of the relevant documents among the first k."""
    return len(relevant & set(ranked[:k])) / len(relevant)


def ndcg_at(k: int, ranked: Sequence[Hashable], relevant: AbstractSet[Hashable]) -> float:
    """Discounted gain over the ideal one; relevance 0 or 1, discount log2(rank + 1)."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gains = [document in relevant for document in ranked[:k]]
    return float(discounts[: len(gains)] @ gains / discounts[: len(relevant)].sum())
