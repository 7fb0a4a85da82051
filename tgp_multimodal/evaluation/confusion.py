"""Metrics that are not means over items, from confusion matrices.

Each takes many matrices at once, so that a bootstrap interval costs little more than the value.

Shape letters: N items, K labels (targets in rows, predictions in columns), C cells of the table
that hold an item, G groups, R tables.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

import numpy as np

from tgp_multimodal.evaluation.stats import Interval, widened, wilson

Measure: TypeAlias = Callable[[np.ndarray], np.ndarray]  # counts (R, K, K) -> values (R,)
RESAMPLES = 10_000
_CHUNK_NUMBERS = 8_000_000  # of one chunk of tables


def macro_f1(count_RKK: np.ndarray) -> np.ndarray:
    """Mean of F1 over the labels that occur."""
    named_RK = count_RKK.sum(1) + count_RKK.sum(2)
    f1_RK = 2 * np.einsum("rkk->rk", count_RKK) / np.maximum(named_RK, 1)
    return np.asarray(f1_RK.sum(1) / (named_RK > 0).sum(1))


def matthews(count_RKK: np.ndarray) -> np.ndarray:
    """Matthews' correlation of targets and predictions, for any number of labels.

    Gorodkin 2004 (doi:10.1016/j.compbiolchem.2004.09.006), equation 8; 0 where targets or
    predictions are all one label.
    """
    total_R, right_R = count_RKK.sum((1, 2)), np.einsum("rkk->r", count_RKK)
    target_RK, predicted_RK = count_RKK.sum(2), count_RKK.sum(1)
    shared_R = right_R * total_R - (target_RK * predicted_RK).sum(1)
    spread_R = (total_R**2 - (target_RK**2).sum(1)) * (total_R**2 - (predicted_RK**2).sum(1))
    return np.where(spread_R > 0, shared_R / np.sqrt(np.maximum(spread_R, 1)), 0.0)


def f1_of(label: int) -> Measure:
    """F1 of one label; 0 where it is neither a target nor predicted."""

    def f1(count_RKK: np.ndarray) -> np.ndarray:
        named_R = count_RKK[:, label].sum(1) + count_RKK[:, :, label].sum(1)
        return np.asarray(2 * count_RKK[:, label, label] / np.maximum(named_R, 1))

    return f1


def table(
    predictions: Sequence[Hashable], targets: Sequence[Hashable], labels: Sequence[Hashable]
) -> np.ndarray:
    """Counts (1, K, K) of targets against predictions."""
    cell_N = _cells(predictions, targets, labels)
    size = len(labels)
    return np.bincount(cell_N, minlength=size * size).astype(float).reshape(1, size, size)


def interval(
    measure: Measure,
    predictions: Sequence[Hashable],
    targets: Sequence[Hashable],
    labels: Sequence[Hashable],
    groups: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """95 % percentile interval of a measure, whole groups resampled (Efron 1979).

    Where every item is right, resamples all agree, which tells nothing of the next item. The lower
    end is then the measure at the lower end of Wilson's interval of the accuracy, as if all labels
    were as frequent and as often mistaken.

    Args:
        measure: of a table.
        predictions: one an item.
        targets: one an item.
        labels: all that occur.
        groups: name of each item's group; items of one group are drawn together.
        seed: of the draws; equal input and seed give an equal interval.
        resamples: how often.
    """
    size = len(labels)
    used_C, cell_N = np.unique(_cells(predictions, targets, labels), return_inverse=True)
    group_N = np.unique(np.asarray(groups), return_inverse=True)[1]
    count_GC = np.zeros((group_N.max() + 1, len(used_C)))
    np.add.at(count_GC, (group_N, cell_N), 1)
    # Groups with one row are one kind: drawing kinds is drawing groups, and cheaper.
    kind_TC, often_T = np.unique(count_GC, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_NUMBERS // size**2)
    values = []
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn_RT = generator.multinomial(len(count_GC), often_T / often_T.sum(), size=rows)
        count_RK = np.zeros((rows, size * size))
        count_RK[:, used_C] = drawn_RT @ kind_TC
        values.append(measure(count_RK.reshape(rows, size, size)))
    low, high = np.quantile(np.concatenate(values), [0.025, 0.975])
    value = float(measure(table(predictions, targets, labels))[0])
    if value == 1.0 and all(p == t for p, t in zip(predictions, targets, strict=True)):
        accuracy = wilson(len(count_GC), len(count_GC)).low
        least_right = (size * accuracy - 1) / (size - 1) if measure is matthews else accuracy
        return Interval(least_right, 1.0)
    least = -1.0 if measure is matthews else 0.0
    return widened(Interval(float(low), float(high)), value, len(count_GC), least, 1.0)


def _cells(
    predictions: Sequence[Hashable], targets: Sequence[Hashable], labels: Sequence[Hashable]
) -> np.ndarray:
    index = {label: i for i, label in enumerate(labels)}
    pairs = zip(targets, predictions, strict=True)
    return np.array([index[t] * len(labels) + index[p] for t, p in pairs])
