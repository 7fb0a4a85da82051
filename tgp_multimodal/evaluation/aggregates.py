"""A result's numbers made again from its per-item records, with no model and no data.

`RULES` are the ways in which protocols make a number and its interval of items. Which of them made
a result is found when it is written, and stands in it as `aggregate`, so that a new protocol needs
nothing here unless it counts in a new way. One whose number no list of items gives (a distance
between two sets of pictures) has none, and its files are held together by their digests alone.

Groups: records of one group are drawn together; a record without one is its own.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.stats import rankdata

from tgp_multimodal.evaluation import confusion
from tgp_multimodal.evaluation.protocols.probe import proportion
from tgp_multimodal.evaluation.protocols.similarity import correlation, resampled
from tgp_multimodal.evaluation.stats import bootstrap, mean_of_proportions

Records: TypeAlias = Sequence[dict[str, Any]]


class Number(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def equals(self, value: float, low: float, high: float) -> bool:
        """Whether these are the same numbers, but for the order in which sums were taken."""
        return all(map(is_equal, self, (value, low, high)))


def rule_of(number: Number, records: Records) -> str:
    """The first rule that makes this very number of the records, interval and all; else empty."""
    for name in RULES:
        try:
            if recompute(name, records).equals(*number):
                return name
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            continue  # these records lack what the rule counts
    return ""


def recompute(rule: str, records: Records) -> Number:
    """The number that a rule makes of records.

    Raises:
        KeyError: there is no such rule, or a record lacks what it counts.
        TypeError, ValueError, ZeroDivisionError: records hold what cannot be counted, or are none.
    """
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
    return Number(sum(shares) / len(shares), *bootstrap(shares))


def _proportion(records: Records) -> Number:
    scores = _scores(records)
    return Number(math.fsum(scores) / len(scores), *proportion(scores, groups(records)))


def _mean(records: Records) -> Number:
    scores = _scores(records)
    return Number(math.fsum(scores) / len(scores), *bootstrap(scores, groups(records)))


def _of_table(measure: confusion.Measure) -> Callable[[Records], Number]:
    def number(records: Records) -> Number:
        said, true = ([r[name] for r in records] for name in ("prediction", "target"))
        labels = list(dict.fromkeys([*said, *true]))  # as `protocols.probe` numbers them
        value = float(measure(confusion.table(said, true, labels))[0])
        return Number(value, *confusion.interval(measure, said, true, labels, groups(records)))

    return number


def _spearman(records: Records) -> Number:
    said, true = (np.array([float(r[n]) for r in records]) for n in ("prediction", "target"))
    value = float(correlation(rankdata(said), rankdata(true)))
    low, high = resampled(said, true, groups(records), ranked=True)
    return Number(value, min(value, low), max(value, high))


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
    "Spearman, bootstrap": _spearman,
    "macro F1, bootstrap": _of_table(confusion.macro_f1),
    "Matthews, bootstrap": _of_table(confusion.matthews),
}
