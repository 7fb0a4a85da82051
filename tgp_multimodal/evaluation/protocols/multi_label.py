"""Multi-label probe: which of several labels, none, one or many, can be read off features.

Shape letters: N items, G groups, K labels, D width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.feature_views import best_view, features_by_view
from tgp_multimodal.evaluation.logistic import Axes, Classifier, Features, rotate, solve
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, lazy_field, training_split
from tgp_multimodal.evaluation.protocols.probe import DECADES, held_back
from tgp_multimodal.evaluation.stats import share

_PATIENCE = 2  # decades that bring nothing end the sweep: the largest C cost the most


def multi_label(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """One L2 logistic regression for each label against the rest; micro F1 over items and labels.

    A label is predicted where its probability exceeds one half. All labels share one C, the decade
    with the best micro F1 on validation (a fixed fifth of train where there is none); then they are
    refitted on train and validation together. Features are treated as in `probe`, and of a model's
    views the one with the best micro F1 on validation is used.

    `group_micro_f1` judges whole groups, the sentences of an abstract, say: a group has a label if
    one of its items has it. The interval resamples groups.
    """
    train, validation, test = training_split(examples), examples.validation, examples.test
    adapter.fit(lazy_field(examples, "train", "item"))
    known = [*train, *validation]
    names = sorted({label for e in (*known, *test) for label in e.fields["labels"]}, key=str)
    if not names:
        raise ValueError(
            f"labels of {examples.card.name} must hold one in some item. Got none instead."
        )
    fit_on, held = np.arange(len(train)), np.arange(len(train), len(known))
    if not len(held):
        fit_on, held = held_back(train)
    known_NK, items = _table(known, names), [e.fields["item"] for e in (*known, *test)]
    views = adapter.views(examples.card.modality)
    best, chosen = best_view(
        views,
        features_by_view(items, views, ask),
        lambda features_ND: _fit(features_ND, known_NK, fit_on, held),
        lambda fit: fit.scores[fit.c],
    )
    predicted_NK, details = _predict(best, known_NK)
    details |= chosen
    true_NK, group_N = _table(test, names), groups(test)
    predicted_GK, true_GK = any_of_group(predicted_NK, group_N), any_of_group(true_NK, group_N)
    details |= {"train": len(fit_on), "validation": len(held), "groups": len(true_GK)}
    details |= {"micro_f1": micro_f1(predicted_NK, true_NK)}
    details |= {"macro_f1": macro_f1(predicted_NK, true_NK)}
    details |= {"group_micro_f1": micro_f1(predicted_GK, true_GK)}
    details |= {"group_macro_f1": macro_f1(predicted_GK, true_GK)}
    columns = {str(name): [k] for k, name in enumerate(names)}
    details["labels"] = {n: micro_f1(predicted_NK[:, k], true_NK[:, k]) for n, k in columns.items()}
    metric = examples.card.metric
    ids, unit_N, said, true = [e.id for e in test], group_N, predicted_NK, true_NK
    if metric == "group_micro_f1":
        ids = unit_N = sorted(set(group_N))
        said, true = predicted_GK, true_GK
    right = 2.0 * (said & true).sum(axis=1)
    named = (said.sum(axis=1) + true.sum(axis=1)).astype(float)
    interval = share(right.tolist(), named.tolist(), unit_N)
    return Outcome(details[metric], interval, _records(ids, names, said, true), details)


def micro_f1(said: np.ndarray, true: np.ndarray) -> float:
    """F1 over all cells of two tables of booleans; 0 where no cell is true."""
    return float(2 * (said & true).sum() / max(1, said.sum() + true.sum()))


def macro_f1(said: np.ndarray, true: np.ndarray) -> float:
    """Mean over the columns of two tables of booleans of each one's F1."""
    return float(np.mean([micro_f1(s, t) for s, t in zip(said.T, true.T, strict=True)]))


def any_of_group(table_NK: np.ndarray, group_N: Sequence[str]) -> np.ndarray:
    """What one item or another of each group has, (G, K), groups in alphabetical order."""
    names, index_N = np.unique(np.asarray(group_N), return_inverse=True)
    table_GK = np.zeros((len(names), table_NK.shape[1]), dtype=bool)
    np.logical_or.at(table_GK, index_N, table_NK)
    return table_GK


def _table(examples: Sequence[Example], names: Sequence[Any]) -> np.ndarray:
    return np.array([[name in e.fields["labels"] for name in names] for e in examples], dtype=bool)


class _Fit(NamedTuple):
    """Features on their axes, known items first, and micro F1 on validation by C."""

    axes: Axes
    width: int
    scores: dict[float, float]

    @property
    def c(self) -> float:
        """The best C; ties go to the smaller one."""
        return max(self.scores, key=lambda c: self.scores[c])


def _fit(features_ND: Features, true_NK: np.ndarray, fit_on: np.ndarray, held: np.ndarray) -> _Fit:
    """Sweeps C over features whose first rows have the labels `true_NK`."""
    count, width = len(true_NK), int(features_ND.shape[1])
    if not sparse.issparse(features_ND):
        features_ND = StandardScaler().fit(features_ND[fit_on]).transform(features_ND)
    # Matrices this small are fastest on one thread, and by far where other processes compute too.
    with threadpool_limits(1, user_api="blas"):
        axes = rotate(features_ND, count)
        if not isinstance(axes.at_NR, np.ndarray):  # too many to be turned; each column is an axis
            axes = Axes(axes.at_NR, np.asarray(axes.at_NR[:count].power(2).sum(axis=0)).ravel())
        at_train, at_held = (Axes(axes.at_NR[i], axes.squares_R) for i in (fit_on, held))
        found = _Fit(axes, width, {})
        classifiers: list[Classifier | None] = [None] * true_NK.shape[1]
        for c in DECADES:
            classifiers = fit_each(at_train, true_NK[fit_on], c, classifiers)
            found.scores[c] = micro_f1(predict_each(at_held.at_NR, classifiers), true_NK[held])
            if found.scores[found.c] and c >= found.c * 10**_PATIENCE:
                break
    return found


def _predict(fit: _Fit, true_NK: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Refits on all labelled rows and predicts the labels of the rows that follow them."""
    count, axes = len(true_NK), fit.axes
    known = Axes(axes.at_NR[:count], axes.squares_R)
    with threadpool_limits(1, user_api="blas"):
        classifiers = fit_each(known, true_NK, fit.c, [None] * true_NK.shape[1])
        predicted_NK = predict_each(axes.at_NR[count:], classifiers)
    scored = {f"{c:g}": score for c, score in fit.scores.items()}
    return predicted_NK, {"c": fit.c, "validation_micro_f1": scored, "features": fit.width}


def fit_each(
    axes: Axes, true_NK: np.ndarray, c: float, start: Sequence[Classifier | None]
) -> list[Classifier | None]:
    """A binary classifier for each label, None for a label that no item has or all have.

    Args:
        axes: of the items.
        true_NK: their labels.
        c: inverse regularisation strength.
        start: solutions for another c.
    """
    labels = [column.astype(np.int64) for column in true_NK.T]
    return [
        solve(axes.at_NR, axes.squares_R, label_N, 2, c, first) if np.ptp(label_N) else None
        for label_N, first in zip(labels, start, strict=True)
    ]


def predict_each(at_NR: Features, classifiers: Sequence[Classifier | None]) -> np.ndarray:
    """Predicted labels of each item, (N, K); never one without a classifier."""
    none_N = np.zeros(at_NR.shape[0], dtype=bool)
    said = [none_N if p is None else p.predict(at_NR).astype(bool) for p in classifiers]
    return np.stack(said, axis=1)


def _records(
    ids: Sequence[str], names: Sequence[Any], said: np.ndarray, true: np.ndarray
) -> list[dict[str, Any]]:
    return [
        {
            "id": name,
            "score": micro_f1(s, t) if (s | t).any() else 1.0,
            "right": int((s & t).sum()),
            "predicted": int(s.sum()),
            "labels": int(t.sum()),
            "prediction": [str(n) for n, is_said in zip(names, s, strict=True) if is_said],
            "target": [str(n) for n, is_true in zip(names, t, strict=True) if is_true],
        }
        for name, s, t in zip(ids, said, true, strict=True)
    ]
