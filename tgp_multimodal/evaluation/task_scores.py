"""Metrics of predictions for labelled items, by kind of task, with intervals.

Shape letters: N items, K labels, W words.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from tgp_multimodal.data.labelled import Item, Kind, Predicted
from tgp_multimodal.evaluation import confusion, entities
from tgp_multimodal.evaluation.entities import EntityCounts, count_entities, total
from tgp_multimodal.evaluation.protocols.multi_label import any_of_group, macro_f1, micro_f1
from tgp_multimodal.evaluation.protocols.probe import measures_of, proportion
from tgp_multimodal.evaluation.protocols.similarity import correlation, resampled
from tgp_multimodal.evaluation.stats import Interval, bootstrap, share

_USUAL = {
    "classification": "accuracy",
    "multi_label": "micro_f1",
    "regression": "spearman",
    "tagging": "f1_strict",
}
_BINS = 10


class Score(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    interval: Interval


def default_metric(kind: Kind, names: Sequence[str]) -> str:
    """The number that decides, where nobody names one.

    Args:
        kind: of the task.
        names: all labels of it; tags of which no entity can be read are judged word by word.
    """
    opens = any(name.startswith("B-") for name in names)
    if kind == "tagging" and not (opens and entities.are_known(names)):
        return "word_accuracy"
    return _USUAL[kind]


def scores(
    kind: Kind, items: Sequence[Item], predicted: Sequence[Predicted], positive: str = ""
) -> dict[str, Score]:
    """All numbers of the kind, with intervals.

    Args:
        kind: of the task.
        items: with the true labels.
        predicted: one for each.
        positive: the label that "f1" of a classification is of, 0 where it does not occur; "" for
            no such number.
    """
    if kind == "classification":
        return _classes(items, predicted, positive)
    others = {"multi_label": _labels, "regression": _quantities, "tagging": _tags}
    return others[kind](items, predicted)


def value(
    metric: str, items: Sequence[Item], predicted: Sequence[Predicted], positive: str = ""
) -> float:
    """One number without its interval, which is what takes the time.

    Args:
        metric: of one of the kinds.
        items: with the true labels.
        predicted: one for each.
        positive: as for `scores`.

    Raises:
        ValueError: there is no such number.
    """
    said, true = [p.label for p in predicted], [item.label for item in items]
    if metric == "accuracy":
        return float(np.mean([s == t for s, t in zip(said, true, strict=True)]))
    if metric in ("macro_f1", "matthews", "f1"):
        names = list(dict.fromkeys([*true, *said]))
        measure = measures_of(names, positive)[metric]
        return float(measure(confusion.table(said, true, names))[0])
    if metric in ("micro_f1", "group_micro_f1"):
        said_NK, true_NK = _tables(said, true)
        if metric == "group_micro_f1":
            groups = [item.group for item in items]
            said_NK, true_NK = any_of_group(said_NK, groups), any_of_group(true_NK, groups)
        return micro_f1(said_NK, true_NK)
    if metric in ("spearman", "pearson"):
        pair = [np.array(said), np.array(true)]
        return float(correlation(*(map(rankdata, pair) if metric == "spearman" else pair)))
    if metric == "word_accuracy":
        words = zip(chain.from_iterable(said), chain.from_iterable(true), strict=True)
        return float(np.mean([one == other for one, other in words]))
    if metric in ("f1_strict", "f1_lenient"):
        return total(_found(said, true, metric == "f1_strict")).f1
    raise ValueError(f"metric must be one of a labelled task. Got {metric} instead.")


def _classes(
    items: Sequence[Item], predicted: Sequence[Predicted], positive: str
) -> dict[str, Score]:
    said, true = [p.label for p in predicted], [item.label for item in items]
    groups = [item.group for item in items]
    right = [s == t for s, t in zip(said, true, strict=True)]
    found = {"accuracy": Score(float(np.mean(right)), Interval(*proportion(right, groups)))}
    names = list(dict.fromkeys([*true, *said]))
    whole = confusion.table(said, true, names)
    for name, measure in measures_of(names, positive).items():
        interval = confusion.interval(measure, said, true, names, groups)
        found[name] = Score(float(measure(whole)[0]), interval)
    return found


def _tables(
    said: Sequence[Sequence[str]], true: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    names = sorted({name for labels in (*said, *true) for name in labels})
    tables = [[[name in labels for name in names] for labels in each] for each in (said, true)]
    count = len(said)
    said_NK, true_NK = (np.array(t, dtype=bool).reshape(count, len(names)) for t in tables)
    return said_NK, true_NK


def _labels(items: Sequence[Item], predicted: Sequence[Predicted]) -> dict[str, Score]:
    said_NK, true_NK = _tables([p.label for p in predicted], [item.label for item in items])
    groups = [item.group for item in items]
    found = {"micro_f1": Score(micro_f1(said_NK, true_NK), _of_cells(said_NK, true_NK, groups))}
    if len(set(groups)) < len(groups):
        said_GK, true_GK = any_of_group(said_NK, groups), any_of_group(true_NK, groups)
        interval = _of_cells(said_GK, true_GK, sorted(set(groups)))
        found["group_micro_f1"] = Score(micro_f1(said_GK, true_GK), interval)
    exact = (said_NK == true_NK).all(axis=1)
    found["exact_match"] = Score(float(exact.mean()), Interval(*proportion(exact, groups)))
    if true_NK.shape[1]:
        each = [_of_cells(s[:, None], t[:, None], groups) for s, t in _columns(said_NK, true_NK)]
        mean = macro_f1(said_NK, true_NK)
        # The mean of the labels' own bounds: wider than that of the mean, for labels go together.
        low, high = (float(np.mean([i[side] for i in each])) for side in (0, 1))
        found["macro_f1"] = Score(mean, Interval(min(mean, low), max(mean, high)))
    return found


def _columns(said_NK: np.ndarray, true_NK: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(said_NK.T, true_NK.T, strict=True))


def _of_cells(said: np.ndarray, true: np.ndarray, groups: Sequence[str]) -> Interval:
    right = 2.0 * (said & true).sum(axis=1)
    named = (said.sum(axis=1) + true.sum(axis=1)).astype(float)
    if not named.sum():
        return Interval(0.0, 0.0)
    return share(right.tolist(), named.tolist(), list(groups))


def _quantities(items: Sequence[Item], predicted: Sequence[Predicted]) -> dict[str, Score]:
    said = np.array([p.label for p in predicted], dtype=float)
    true = np.array([item.label for item in items], dtype=float)
    groups = [item.group for item in items]
    found = {}
    for name in ("spearman", "pearson"):
        own = value(name, items, predicted)
        low, high = resampled(said, true, groups, ranked=name == "spearman")
        found[name] = Score(own, Interval(min(own, low), max(own, high)))
    squares = (said - true) ** 2
    low, high = bootstrap(squares.tolist(), groups)
    interval = Interval(low**0.5, high**0.5)
    found["root_mean_square_error"] = Score(float(squares.mean() ** 0.5), interval)
    return found


def _found(
    said: Sequence[Sequence[str]], true: Sequence[Sequence[str]], is_strict: bool
) -> list[EntityCounts]:
    return [count_entities(s, t, is_strict) for s, t in zip(said, true, strict=True)]


def _tags(items: Sequence[Item], predicted: Sequence[Predicted]) -> dict[str, Score]:
    said, true = [p.label for p in predicted], [item.label for item in items]
    groups = [item.group for item in items]
    scored = {}
    is_known = any(entities.are_known(chain.from_iterable(side)) for side in (said, true))
    for name in ("f1_strict", "f1_lenient") if is_known else ():
        found = _found(said, true, name == "f1_strict")
        right, named = [2.0 * f.right for f in found], [float(f.true + f.predicted) for f in found]
        scored[name] = Score(total(found).f1, share(right, named, groups))
    right = [float(sum(map(str.__eq__, s, t))) for s, t in zip(said, true, strict=True)]
    words = [float(len(t)) for t in true]
    scored["word_accuracy"] = Score(sum(right) / sum(words), share(right, words, groups))
    return scored


class Bin(NamedTuple):
    """A calibration bin: mean confidence, accuracy and its interval, and number of answers."""

    confidence: float
    accuracy: float
    interval: Interval
    items: int


def reliability(confidence_N: np.ndarray, correct_N: np.ndarray) -> tuple[list[Bin], float]:
    """Ten bins of equal width, empty ones left out, and the expected calibration error.

    The error is the mean over items of the distance between confidence and accuracy of their bin
    (Guo et al. 2017, arXiv:1706.04599, equation 3).
    """
    place_N = np.minimum((confidence_N * _BINS).astype(int), _BINS - 1)
    bins, error = [], 0.0
    for place in range(_BINS):
        own = place_N == place
        if count := int(own.sum()):
            sure, right = float(confidence_N[own].mean()), float(correct_N[own].mean())
            interval = share(correct_N[own].astype(float).tolist(), [1.0] * count)
            bins.append(Bin(sure, right, interval, count))
            error += count / len(confidence_N) * abs(sure - right)
    return bins, error


def confidences(
    kind: Kind, items: Sequence[Item], predicted: Sequence[Predicted], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """How sure each answer was, and whether it was right: of items, words, or single labels.

    Of several labels each one that is said or not is an answer of its own.
    """
    known: Callable[[Predicted], np.ndarray] = lambda p: np.asarray(p.probabilities)  # noqa: E731
    if kind == "classification":
        sure = np.array([p.probability for p in predicted], dtype=float)
        return sure, np.array(
            [p.label == i.label for p, i in zip(predicted, items, strict=True)], bool
        )
    if kind == "multi_label":
        chance_NK = np.stack([known(p) for p in predicted])
        true_NK = np.array([[name in item.label for name in names] for item in items], bool)
        return np.maximum(chance_NK, 1 - chance_NK).ravel(), ((chance_NK > 0.5) == true_NK).ravel()
    sure = np.concatenate([known(p).max(axis=1) for p in predicted])
    pairs = chain.from_iterable(
        zip(p.label[: len(known(p))], i.label, strict=False)
        for p, i in zip(predicted, items, strict=True)
    )
    return sure, np.array([one == other for one, other in pairs], dtype=bool)
