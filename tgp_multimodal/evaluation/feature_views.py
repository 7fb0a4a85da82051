"""The features of a model's views as matrices, and the choice among views.

Shape letters: N items, D width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from scipy import sparse

from tgp_multimodal.evaluation.logistic import Features
from tgp_multimodal.evaluation.outcome import Ask
from tgp_multimodal.evaluation.requests import Embed

Fitted = TypeVar("Fitted")


def features_by_view(items: Sequence[Any], views: Sequence[str], ask: Ask) -> Iterator[Features]:
    """Features of items, one matrix (N, D) for each view; of pairs as `pair_features` says.

    All are asked for at once, and put together one after the other, which needs less memory.
    """
    parts = [item if isinstance(item, tuple) else (item,) for item in items]
    answers = ask([Embed(part, view) for pair in parts for part in pair for view in views])
    for number in range(len(views)):
        own = slice(number, None, len(views))
        features = stack(answers[own])
        answers[own] = [None] * len(answers[own])  # of pictures they may be a gigabyte
        if parts and len(parts[0]) == 2:
            features = pair_features(features[::2], features[1::2])
        yield features
        del features


def pair_features(first_ND: Features, second_ND: Features) -> Features:
    """Features of pairs: [u, v, |u - v|, u v] of those of their texts."""
    if isinstance(first_ND, np.ndarray):
        apart_ND, product_ND = np.abs(first_ND - second_ND), first_ND * second_ND
        return np.hstack([first_ND, second_ND, apart_ND, product_ND])
    apart, product = abs(first_ND - second_ND), first_ND.multiply(second_ND)
    return sparse.csr_matrix(sparse.hstack([first_ND, second_ND, apart, product]))


def stack(vectors: Sequence[Any]) -> Features:
    """One matrix (N, D) of single vectors (D,) or of sparse rows (1, D)."""
    if sparse.issparse(vectors[0]):
        return sparse.csr_matrix(sparse.vstack(vectors))
    matrix_ND = np.asarray(np.stack(vectors), dtype=np.float64)
    if not np.isfinite(matrix_ND).all():
        bad = int((~np.isfinite(matrix_ND)).any(axis=-1).sum())
        raise ValueError(
            f"features must be finite. Got {bad} vectors with NaN or infinity instead."
        )
    return matrix_ND


def best_view(
    views: Sequence[str],
    features: Iterable[Features],
    fit: Callable[[Features], Fitted],
    score: Callable[[Fitted], float],
) -> tuple[Fitted, dict[str, Any]]:
    """The fit on the view that scores best on validation items; ties go to the one named first.

    Args:
        views: names of the features.
        features: those of each view, one after the other: only one is held at a time.
        fit: fits on them.
        score: how good that is on validation items.

    Returns:
        The fit, and for the details of a result `view`, and with several of them `finals`, the
        score of each.
    """
    best: tuple[str, Fitted] | None = None
    finals: dict[str, float] = {}
    for view, features_ND in zip(views, features, strict=True):
        found = fit(features_ND)
        finals[view] = score(found)
        if best is None or finals[view] > finals[best[0]]:
            best = view, found
        del features_ND  # before the next ones are there
    assert best is not None, "every adapter has a view"
    told: dict[str, Any] = {"view": best[0]} if best[0] else {}
    return best[1], told | ({"finals": finals} if len(views) > 1 else {})
