"""Linear probe: how much of a label can be read off frozen features by a plane.

Shape letters: N items, D width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tgp_multimodal.evaluation import metrics
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.logistic import Axes, Classifier, Features, rotate, solve
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, later
from tgp_multimodal.evaluation.requests import Embed
from tgp_multimodal.evaluation.stats import bootstrap, wilson

DECADES = tuple(10.0**e for e in range(-5, 5))
_PATIENCE = 2
_VALIDATION_SHARE = 0.2


class Fit(NamedTuple):
    """A chosen classifier and how it was chosen."""

    classifier: Classifier
    c: float
    validation_accuracy: dict[str, float]


def probe(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """L2 logistic regression on frozen features; C over decades on validation, then refit.

    Dense features are standardised by the training items' mean and deviation; sparse ones (TF-IDF)
    stay as they are. Where the card has no validation split, a fixed fifth of train serves. The
    last fit is on train and validation together, as in CLIP's probe (Radford et al. 2021, A.3).
    """
    train, validation, test = examples.train, examples.validation, examples.test
    target_N = [e.fields["label"] for e in test]
    details: dict[str, Any] = {"train": len(train), "validation": len(validation)}
    guess = adapter.guess(_labels([*train, *validation]))
    if guess is not None:
        predictions = [guess] * len(test)
    else:
        adapter.fit(later(examples, "train", "item"))
        requests = [Embed(e.fields["item"]) for e in (*train, *validation, *test)]
        features = stack(ask(requests))
        predictions, found = _predict(features, train, validation)
        details |= found
    details["accuracy"] = metrics.accuracy(predictions, target_N)
    details["macro_f1"] = metrics.macro_f1(predictions, target_N)
    correct = [p == t for p, t in zip(predictions, target_N, strict=True)]
    records = [
        {"id": e.id, "correct": c, "prediction": p, "target": t}
        for e, c, p, t in zip(test, correct, predictions, target_N, strict=True)
    ]
    value = details[examples.card.metric]
    interval = proportion(correct, groups(test))
    return Outcome(value, interval, records, details)


def proportion(correct: Sequence[bool], group: Sequence[str]) -> Any:
    """Wilson's interval, or the clustered bootstrap's where several items share a group."""
    if len(set(group)) == len(group):
        return wilson(sum(correct), len(correct))
    return bootstrap([float(c) for c in correct], group)


def stack(vectors: Sequence[Any]) -> Features:
    """One matrix (N, D) of single vectors (D,) or of sparse rows (1, D)."""
    if sparse.issparse(vectors[0]):
        return sparse.csr_matrix(sparse.vstack(vectors))
    matrix_ND = np.asarray(np.stack(vectors), dtype=np.float64)
    if not np.isfinite(matrix_ND).all():
        bad = int((~np.isfinite(matrix_ND)).any(axis=1).sum())
        raise ValueError(
            f"features must be finite. Got {bad} vectors with NaN or infinity instead."
        )
    return matrix_ND


def fit(axes: Axes, label_N: np.ndarray, train: np.ndarray, held: np.ndarray) -> Fit:
    """Sweeps C from small to large, each solve started from the last, and refits the best.

    The sweep ends early when the training items are all right already and two decades in a row have
    brought nothing.

    Args:
        axes: features of train and validation items, rotated.
        label_N: of the same.
        train: indices that the sweep fits on.
        held: indices that choose C; ties go to the smaller C.
    """
    classes = int(label_N.max()) + 1
    found: Classifier | None = None
    scores: dict[str, float] = {}
    best, best_score, idle = DECADES[0], -1.0, 0
    at_train, at_held = axes.at_NR[train], axes.at_NR[held]
    for c in DECADES:
        found = solve(at_train, axes.squares_R, label_N[train], classes, c, found)
        score = float((found.predict(at_held) == label_N[held]).mean())
        scores[f"{c:g}"] = score
        if score > best_score:
            best, best_score, idle = c, score, 0
        elif (found.predict(at_train) == label_N[train]).all():
            idle += 1
        if idle >= _PATIENCE:
            break
    final = solve(axes.at_NR[: len(label_N)], axes.squares_R, label_N, classes, best)
    return Fit(final, best, scores)


def _predict(
    features_ND: Features, train: Sequence[Example], validation: Sequence[Example]
) -> tuple[list[Any], dict[str, Any]]:
    """Predictions for the rows behind those of train and validation."""
    known = len(train) + len(validation)
    names = sorted(set(_labels([*train, *validation])), key=str)
    index = {name: i for i, name in enumerate(names)}
    labels = np.array([index[name] for name in _labels([*train, *validation])])
    fit_on, held = np.arange(len(train)), np.arange(len(train), known)
    if not len(held):
        fit_on, held = train_test_split(
            fit_on, test_size=_VALIDATION_SHARE, random_state=0, stratify=_stratify(labels)
        )
    width = int(features_ND.shape[1])
    if not sparse.issparse(features_ND):
        features_ND = StandardScaler().fit(features_ND[fit_on]).transform(features_ND)
    # Matrices this small are fastest on one thread, and by far where other processes compute too.
    with threadpool_limits(1, user_api="blas"):
        axes = rotate(features_ND, known)
        found = fit(axes, labels, fit_on, held)
        chosen = [names[i] for i in found.classifier.predict(axes.at_NR[known:])]
    return chosen, {
        "c": found.c,
        "validation_accuracy": found.validation_accuracy,
        "features": width,
        "steps": found.classifier.steps,
    }


def _labels(examples: Sequence[Example]) -> list[Any]:
    return [e.fields["label"] for e in examples]


def _stratify(labels: np.ndarray) -> np.ndarray | None:
    return labels if np.bincount(labels).min() >= 2 else None
