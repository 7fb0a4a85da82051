"""Recomputes a result's number and interval from its per-item records, with no model and no data.

`RULES` are the ways in which protocols aggregate items into a number and its interval. The one that
fits is found when a result is written, and stored in it as `aggregate`, so a new protocol needs
nothing here unless it aggregates in a new way. A number that does not follow from per-item records
(a distance between two sets of pictures) has no rule, and only digests protect its files.

Groups: records of one group are resampled together; a record without one is its own group.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.stats import rankdata

from tgp_multimodal.evaluation import confusion
from tgp_multimodal.evaluation.protocols.few_labels import mean_over_draws
from tgp_multimodal.evaluation.protocols.probe import proportion
from tgp_multimodal.evaluation.protocols.similarity import correlation, resampled
from tgp_multimodal.evaluation.stats import bootstrap, mean_of_proportions, share

Records: TypeAlias = Sequence[dict[str, Any]]
# What a rule raises on records that lack what it counts.
UNCOUNTABLE = (AttributeError, KeyError, TypeError, ValueError, ArithmeticError)


class Number(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def equals(self, value: float, low: float, high: float) -> bool:
        """Whether these are the same numbers, but for the order in which sums were taken."""
        return all(map(is_equal, self, (value, low, high)))


def rule_of(number: Number, records: Records, metric: str, positive: str = "") -> str:
    """The first rule that makes this very number of the records, interval and all; else empty.

    Metrics that are no mean of items have a rule of their own, and no other is tried for them:
    where all is 0 many rules agree by chance.

    Args:
        number: what the protocol found.
        records: of its items.
        metric: its name.
        positive: the label that `f1` is of.
    """
    own = _OF_ONE.format(positive) if metric == "f1" else _OWN.get(metric)
    for name in _GENERAL if own is None else (own,):
        try:
            if recompute(name, records).equals(*number):
                return name
        except UNCOUNTABLE:
            continue  # these records lack what the rule counts
    return ""


def recompute(rule: str, records: Records) -> Number:
    """The number that a rule makes of records.

    Raises:
        KeyError: there is no such rule, or a record lacks what it counts.
        TypeError, ValueError, ZeroDivisionError: records hold what cannot be counted, or are none.
    """
    if rule.startswith(_BEFORE) and rule.endswith(_BEHIND):
        return _f1(records, rule.removeprefix(_BEFORE).removesuffix(_BEHIND))
    return RULES[rule](records)


def is_equal(one: float, other: float) -> bool:
    """Whether two numbers differ by no more than rounding."""
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def means(records: Records) -> dict[str, float]:
    """The mean of every column that holds a number in each record, by its name."""
    columns = set.intersection(*(set(r) for r in records)) if records else set()
    plain = {
        name: [r[name] for r in records]
        for name in columns
        if all(isinstance(r[name], int | float) for r in records)
    }
    return {name: math.fsum(values) / len(values) for name, values in plain.items()}


def groups(records: Records) -> list[str]:
    """Group of each record; its id where it has none."""
    return [str(r.get("group", r["id"])) for r in records]


def _bytes(records: Records) -> Number:
    bits = [r["nats"] / math.log(2) for r in records]
    sizes = [float(r["bytes"]) for r in records]
    return Number(sum(bits) / sum(sizes), *bootstrap(bits, groups(records), sizes))


def _axes(records: Records) -> Number:
    axes = list(_by_axis(records, "correct").values())
    hits, sizes = [sum(own) for own in axes], [len(own) for own in axes]
    value = sum(h / n for h, n in zip(hits, sizes, strict=True)) / len(axes)
    return Number(value, *mean_of_proportions(hits, sizes))


def _paradigms(records: Records) -> Number:
    shares = [sum(own) / len(own) for _, own in sorted(_by_axis(records, "score").items())]
    # Of one paradigm, as the protocol does it, the items are drawn again.
    units = shares if len(shares) > 1 else _scores(records)
    return Number(sum(shares) / len(shares), *share(units, [1.0] * len(units)))


def _proportion(records: Records) -> Number:
    scores = _scores(records)
    return Number(math.fsum(scores) / len(scores), *proportion(scores, groups(records)))


def _mean(records: Records) -> Number:
    scores = _scores(records)
    return Number(math.fsum(scores) / len(scores), *bootstrap(scores, groups(records)))


def _share(records: Records) -> Number:
    scores = _scores(records)
    ones = [1.0] * len(scores)
    return Number(math.fsum(scores) / len(scores), *share(scores, ones, groups(records)))


def _named(records: Records) -> Number:
    """F1 of entities or labels: twice the right ones over the true and the predicted ones."""
    right = [2.0 * r["right"] for r in records]
    true = (r["entities"] if "entities" in r else r["labels"] for r in records)
    named = [float(t + r["predicted"]) for t, r in zip(true, records, strict=True)]
    return Number(sum(right) / max(1.0, sum(named)), *share(right, named, groups(records)))


def _draws(records: Records) -> Number:
    return Number(*mean_over_draws([r["right"] for r in records], groups(records)))


def _f1(records: Records, positive: str) -> Number:
    """F1 of one label, as `protocols.probe` has it; 0 where it is neither said nor true."""
    said, true = ([str(r[name]) for r in records] for name in ("prediction", "target"))
    labels = list(dict.fromkeys([*said, *true]))
    if positive not in labels:
        return Number(0.0, 0.0, 0.0)
    measure = confusion.f1_of(labels.index(positive))
    value = float(measure(confusion.table(said, true, labels))[0])
    return Number(value, *confusion.interval(measure, said, true, labels, groups(records)))


def _of_table(measure: confusion.Measure) -> Callable[[Records], Number]:
    def number(records: Records) -> Number:
        said, true = ([r[name] for r in records] for name in ("prediction", "target"))
        labels = list(dict.fromkeys([*said, *true]))  # as `protocols.probe` numbers them
        value = float(measure(confusion.table(said, true, labels))[0])
        return Number(value, *confusion.interval(measure, said, true, labels, groups(records)))

    return number


def _correlation(is_ranked: bool) -> Callable[[Records], Number]:
    def number(records: Records) -> Number:
        said, true = (np.array([float(r[n]) for r in records]) for n in ("prediction", "target"))
        sides = (rankdata(said), rankdata(true)) if is_ranked else (said, true)
        value = float(correlation(*sides))
        low, high = resampled(said, true, groups(records), ranked=is_ranked)
        return Number(value, min(value, low), max(value, high))

    return number


def _scores(records: Records) -> list[float]:
    return [float(r["score"] if "score" in r else r["correct"]) for r in records]


def _by_axis(records: Records, name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        found[record["axis"]].append(float(record[name]))
    return found


# The special ones first: a mean over axes of equal size is a plain mean too.
RULES: dict[str, Callable[[Records], Number]] = {
    "bits of all items over their bytes, bootstrap": _bytes,
    "mean over axes of shares, Zou and Donner": _axes,
    "mean over paradigms, bootstrap of paradigms": _paradigms,
    "share, Wilson or clustered bootstrap": _proportion,
    "mean, bootstrap": _mean,
    "share, bootstrap or Wilson of the groups": _share,
    "F1 over all that is named, bootstrap": _named,
    "Spearman, bootstrap": _correlation(True),
    "Pearson, bootstrap": _correlation(False),
    "macro F1, bootstrap": _of_table(confusion.macro_f1),
    "mean over counts of labels and draws, bootstrap and Student": _draws,
    "Matthews, bootstrap": _of_table(confusion.matthews),
}
_OF_ONE = "F1 of {}, bootstrap"
_BEFORE, _BEHIND = _OF_ONE.split("{}")
_OWN = {
    "f1_strict": "F1 over all that is named, bootstrap",
    "f1_lenient": "F1 over all that is named, bootstrap",
    "micro_f1": "F1 over all that is named, bootstrap",
    "group_micro_f1": "F1 over all that is named, bootstrap",
    "spearman": "Spearman, bootstrap",
    "pearson": "Pearson, bootstrap",
    "macro_f1": "macro F1, bootstrap",
    "curve_accuracy": "mean over counts of labels and draws, bootstrap and Student",
    "matthews": "Matthews, bootstrap",
}
_GENERAL = tuple(name for name in RULES if name not in _OWN.values())
