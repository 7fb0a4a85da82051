"""A result's numbers made again from its per-item records, with no model and no data.

Each protocol that ends in a mean of its items is in `RULES`, with how that mean and its interval
are taken. One that is not (a distance between two sets of pictures) has a number that no list of
items gives; its files are held together by their digests alone.

Groups: records of one group are drawn together; a record without one is its own.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from tgp_multimodal.evaluation import metrics
from tgp_multimodal.evaluation.protocols.probe import proportion
from tgp_multimodal.evaluation.stats import bootstrap, mean_of_proportions

Records: TypeAlias = Sequence[dict[str, Any]]


class Number(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def recompute(protocol: str, metric: str, records: Records) -> Number | None:
    """The number that a protocol makes of these records; None if it is not made of records.

    Raises:
        KeyError: a record lacks what the protocol writes into each.
    """
    if protocol not in RULES:
        return None
    return RULES[protocol](metric, records)


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


def _of_choices(metric: str, records: Records) -> Number:
    correct = [bool(r["correct"]) for r in records]
    value = sum(correct) / len(correct)
    if metric == "macro_f1":
        value = metrics.macro_f1([r["prediction"] for r in records], [r["target"] for r in records])
    return Number(value, *proportion(correct, groups(records)))


def _of_scores(metric: str, records: Records) -> Number:
    scores = [float(r["score"]) for r in records]
    return Number(math.fsum(scores) / len(scores), *bootstrap(scores, groups(records)))


def _of_bytes(metric: str, records: Records) -> Number:
    bits = [r["nats"] / math.log(2) for r in records]
    sizes = [float(r["bytes"]) for r in records]
    return Number(sum(bits) / sum(sizes), *bootstrap(bits, groups(records), sizes))


def _of_paradigms(metric: str, records: Records) -> Number:
    shares = [sum(own) / len(own) for _, own in sorted(_by_axis(records, "score").items())]
    return Number(sum(shares) / len(shares), *bootstrap(shares))


def _of_axes(metric: str, records: Records) -> Number:
    axes = list(_by_axis(records, "correct").values())
    hits, sizes = [sum(own) for own in axes], [len(own) for own in axes]
    value = sum(h / n for h, n in zip(hits, sizes, strict=True)) / len(axes)
    return Number(value, *mean_of_proportions(hits, sizes))


def _by_axis(records: Records, name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        found[record["axis"]].append(float(record[name]))
    return found


RULES: dict[str, Callable[[str, Records], Number]] = {
    "probe": _of_choices,
    "multiple_choice": _of_choices,
    "infilling": _of_choices,
    "zero_shot": _of_choices,
    "retrieval": _of_scores,
    "denoising": _of_scores,
    "picture_retrieval": _of_scores,
    "minimal_pairs": _of_paradigms,
    "perplexity": _of_bytes,
    "scene_eval": _of_axes,
}
