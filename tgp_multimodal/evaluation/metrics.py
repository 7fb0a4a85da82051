"""Numbers from predictions."""

import math
from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from tgp_multimodal.evaluation import confusion

# Metrics of which lower values are better.
COSTS = frozenset({"bits_per_byte", "error", "kid", "squared_error"})
# Metrics whose best value lies between their bounds: of all others it is 1, or 0 for costs.
IDEAL = {"stereotype_share": 0.5}
# What its items are that score 1, and those that score 0.
SIDES = {"stereotype_share": ("stereotype likelier", "stereotype less likely")}


def perfect(metric: str, higher_is_better: bool) -> float:
    """The best value that a metric can have."""
    return IDEAL.get(metric, 1.0 if higher_is_better else 0.0)


def quality(metric: str, higher_is_better: bool, value: float) -> float:
    """A number that is larger for better values: for a metric with an ideal, minus its distance."""
    if metric in IDEAL:
        return -abs(value - IDEAL[metric])
    return value if higher_is_better else -value


def direction(metric: str, higher_is_better: bool) -> str:
    """Which values are better, in three words."""
    if metric in IDEAL:
        return f"{IDEAL[metric]:g} is best"
    return f"{'higher' if higher_is_better else 'lower'} is better"


def wins(first: float, second: float) -> float:
    """1 if the first number is the larger one, 0 if the second is; a tie counts half."""
    return (1 + (first > second) - (first < second)) / 2


def accuracy(predictions: Sequence[Hashable], targets: Sequence[Hashable]) -> float:
    """Share of predictions that equal their target."""
    return sum(p == t for p, t in zip(predictions, targets, strict=True)) / len(targets)


def macro_f1(predictions: Sequence[Hashable], targets: Sequence[Hashable]) -> float:
    """Mean over classes of F1, classes being all that occur in targets or predictions.

    A class without a true positive counts 0, as in scikit-learn's `f1_score(average="macro")`.
    """
    labels = list(dict.fromkeys([*predictions, *targets]))
    return float(confusion.macro_f1(confusion.table(predictions, targets, labels))[0])


def reciprocal_rank(ranked: Sequence[Hashable], relevant: AbstractSet[Hashable]) -> float:
    """One over the rank of the first relevant document; 0 if there is none."""
    ranks = (i for i, document in enumerate(ranked, 1) if document in relevant)
    return 1 / next(ranks, math.inf)


def recall_at(k: int, ranked: Sequence[Hashable], relevant: AbstractSet[Hashable]) -> float:
    """Share of the relevant documents among the first k."""
    return len(relevant & set(ranked[:k])) / len(relevant)


def average_precision(ranked: Sequence[Hashable], relevant: AbstractSet[Hashable]) -> float:
    """Mean over the relevant documents of the precision at their ranks; 0 for one not ranked."""
    ranks = [i for i, document in enumerate(ranked, 1) if document in relevant]
    return sum(hits / rank for hits, rank in enumerate(ranks, 1)) / len(relevant)


def ndcg_at(k: int, ranked: Sequence[Hashable], relevance: Mapping[Hashable, float]) -> float:
    """Discounted gain over the ideal one; the gain is the relevance, the discount log2(rank + 1).

    The ideal ranking has all judged documents, and a judgement below 0 gains nothing, both as in
    trec_eval's `ndcg_cut`.

    Args:
        k: ranks that count.
        ranked: documents, best first.
        relevance: of each judged document, of one at least above 0; others have none.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gains = [max(0.0, relevance.get(document, 0.0)) for document in ranked[:k]]
    ideal = sorted((max(0.0, gain) for gain in relevance.values()), reverse=True)[:k]
    return float(discounts[: len(gains)] @ gains / (discounts[: len(ideal)] @ ideal))
