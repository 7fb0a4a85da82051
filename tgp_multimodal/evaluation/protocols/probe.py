"""Linear probe: how much of a label can be read off frozen features by a plane.

Shape letters: N items, D width.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from tgp_multimodal.evaluation import metrics
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, later
from tgp_multimodal.evaluation.requests import Embed
from tgp_multimodal.evaluation.stats import bootstrap, wilson

DECADES = tuple(10.0**e for e in range(-5, 5))
_PATIENCE = 2  # decades in a row that bring nothing, after which larger C are not tried
_ITERATIONS = 300
_VALIDATION_SHARE = 0.2

Features: TypeAlias = np.ndarray | sparse.csr_matrix


class Fit(NamedTuple):
    """A chosen classifier and how it was chosen."""

    classifier: LogisticRegression
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


def fit(features_ND: Features, labels: np.ndarray, train: np.ndarray, held: np.ndarray) -> Fit:
    """Sweeps C from small to large, each solve started from the last, and refits the best.

    The sweep ends when two decades in a row bring nothing: a lower validation accuracy, or the same
    where the training items are all right already.

    Args:
        features_ND: of train and validation items.
        labels: of the same.
        train: indices that the sweep fits on.
        held: indices that choose C; ties go to the smaller C.
    """
    classifier = LogisticRegression(max_iter=_ITERATIONS, warm_start=True)
    scores: dict[str, float] = {}
    best, best_score, idle = DECADES[0], -1.0, 0
    with warnings.catch_warnings():
        # An unconverged solve is a valid probe: the sweep judges it by its validation score.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for c in DECADES:
            classifier.set_params(C=c).fit(features_ND[train], labels[train])
            score = float(classifier.score(features_ND[held], labels[held]))
            scores[f"{c:g}"] = score
            if score > best_score:
                best, best_score, idle = c, score, 0
            elif score < best_score or classifier.score(features_ND[train], labels[train]) == 1:
                idle += 1
            if idle >= _PATIENCE:
                break
        final = LogisticRegression(C=best, max_iter=2 * _ITERATIONS).fit(features_ND, labels)
    return Fit(final, best, scores)


def rotated(features_ND: np.ndarray, known: int) -> np.ndarray:
    """The same features in the span of the first `known` items, where that has fewer dimensions.

    Logistic regression with an L2 penalty does not see the difference: its solution lies in the
    span of the items it is fitted on, and a rotation keeps the penalty. It is only faster.
    """
    if features_ND.shape[1] <= known:
        return features_ND
    squares, basis = np.linalg.eigh(features_ND[:known] @ features_ND[:known].T)
    kept = squares > squares[-1] * 1e-12
    coordinates = features_ND @ features_ND[:known].T @ basis[:, kept]
    return np.asarray(coordinates / np.sqrt(squares[kept]))


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
        features_ND = rotated(features_ND, known)
    found = fit(features_ND[:known], labels, fit_on, held)
    chosen = [names[i] for i in found.classifier.predict(features_ND[known:])]
    return chosen, {
        "c": found.c,
        "validation_accuracy": found.validation_accuracy,
        "features": width,
        "iterations": int(found.classifier.n_iter_.max()),
    }


def _labels(examples: Sequence[Example]) -> list[Any]:
    return [e.fields["label"] for e in examples]


def _stratify(labels: np.ndarray) -> np.ndarray | None:
    return labels if np.bincount(labels).min() >= 2 else None
