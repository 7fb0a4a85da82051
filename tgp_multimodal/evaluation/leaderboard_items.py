"""Per-item records for the leaderboard: read, compared between models, sampled for the reader.

Shape letters: N items, M models.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tgp_multimodal.evaluation.results import is_number
from tgp_multimodal.evaluation.significance import (
    MAX_BLOCKS,
    bootstrap_means,
    bootstrap_p,
    holm,
    intervals_p,
    mcnemar,
    rank_groups,
)

SAMPLES = 5
MAX_TEXT = 280

Number = tuple[float, float, float]  # value, low, high


class Samples(NamedTuple):
    """A few records; the words say whether they are right and wrong, or best and worst."""

    words: tuple[str, str]
    first: list[dict[str, Any]]
    second: list[dict[str, Any]]


@dataclass(frozen=True)
class Items:
    """The records of one model on one card, in file order, with what a test needs of them.

    Attributes:
        records: as they were read.
        ids: one a record; none where two are equal.
        score_N: None unless every record has a number.
        weight_N: bytes where records have them (bits per byte); where they have axes, as much for
            each axis; else equal.
        group_N: records of one group are not independent.
    """

    records: list[dict[str, Any]]
    ids: tuple[str, ...] = ()
    score_N: np.ndarray | None = None
    weight_N: np.ndarray = field(default_factory=lambda: np.zeros(0))
    group_N: tuple[str, ...] = ()

    @property
    def is_binary(self) -> bool:
        """Whether every item is right or wrong."""
        return self.score_N is not None and bool(np.isin(self.score_N, (0, 1)).all())

    def samples(self, higher_is_better: bool, sides: tuple[str, str] | None = None) -> Samples:
        """Five right and five wrong records; the best and worst where scores have degrees.

        Of a metric whose records are neither, `sides` says what those that score 1 and 0 are.
        """
        if self.score_N is None:
            return Samples(("first", "last"), [shorten(r) for r in self.records[:SAMPLES]], [])
        pairs = list(zip(self.records, self.score_N, strict=True))
        if self.is_binary or sides is not None:
            order = (1, 0) if higher_is_better or sides is not None else (0, 1)
            first, second = ([r for r, s in pairs if s == x][:SAMPLES] for x in order)
            words = sides or ("right", "wrong")
            return Samples(words, [*map(shorten, first)], [*map(shorten, second)])
        pairs.sort(key=lambda pair: -pair[1] if higher_is_better else pair[1])
        share = min(SAMPLES, len(pairs) // 2)
        best, worst = pairs[:share], pairs[::-1][:share]
        return Samples(
            ("best", "worst"), [shorten(r) for r, _ in best], [shorten(r) for r, _ in worst]
        )

    def explain(self, value: float) -> bool:
        """Whether the value is the mean of the scores, so that a test of items is a test of it."""
        if self.score_N is None or not self.ids:
            return False
        mean = float(np.average(self.score_N, weights=self.weight_N))
        return math.isclose(mean, value, rel_tol=1e-6, abs_tol=1e-9)


class Comparison(NamedTuple):
    """Rank groups, corrected p-values against the best, names of the tests that gave them."""

    group: list[int]
    p_against_best: list[float]
    tests: list[str]


def shorten(record: dict[str, Any]) -> dict[str, Any]:
    """A record of short texts and numbers only."""
    out: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, bool | int) or value is None:
            out[name] = value
        elif isinstance(value, float):
            out[name] = round(value, 4) if math.isfinite(value) else str(value)
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            out[name] = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " …"
    return out


def read_items(path: Path) -> tuple[Items, int]:
    """The records of a `.jsonl` and the number of its broken lines. No file is no records."""
    if not path.is_file():
        return Items([]), 0
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    found = _parse(lines)
    records = [record for record in found if isinstance(record, dict)]
    return _items(records), len(found) - len(records)


def _parse(lines: list[bytes]) -> list[Any]:
    """What each line holds; None for one that is broken. All at once where none is: much faster."""
    try:
        whole = json.loads(b"[" + b",".join(lines) + b"]")
        if len(whole) == len(lines):
            return whole
    except (ValueError, RecursionError):
        pass
    return [_parse_line(line) for line in lines]


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _items(records: list[dict[str, Any]]) -> Items:
    ids = tuple(str(r.get("id", place)) for place, r in enumerate(records))
    if not records or len(set(ids)) < len(ids):
        return Items(records)
    groups = tuple(str(r.get("group", name)) for name, r in zip(ids, records, strict=True))
    weight = _weights(records)
    for name in ("correct", "score"):
        scores = [r.get(name) for r in records]
        if all(isinstance(s, bool) or is_number(s) for s in scores):
            return Items(records, ids, np.array(scores, dtype=float), weight, groups)
    return Items(records, ids, None, weight, groups)


def _weights(records: list[dict[str, Any]]) -> np.ndarray:
    sizes: list[Any] = [r.get("bytes") for r in records]
    if all(is_number(s) and s > 0 for s in sizes):
        return np.array(sizes, dtype=float)
    axis_N = [str(r.get("axis")) for r in records]
    counts = Counter(axis_N)
    return np.array([1 / counts[axis] for axis in axis_N])


def compare(numbers: Sequence[Number], items: Sequence[Items], level: float) -> Comparison:
    """Compares models, sorted from best to worst, every pair once; Holm's correction over all.

    A pair that answered the same items is tested item by item: exact McNemar where items are right
    or wrong, independent and of equal weight, else a paired bootstrap of whole groups. A pair that
    did not, or whose value is not the mean of its items (macro F1, say), is tested by intervals.

    Args:
        numbers: (value, low, high) of each model.
        items: records of each model.
        level: below this corrected p-value two models differ.
    """
    usable = [
        frozenset(i.ids) if i.explain(n[0]) else None for n, i in zip(numbers, items, strict=True)
    ]
    common = Counter(u for u in usable if u is not None).most_common(1)
    paired = [place for place, ids in enumerate(usable) if common and ids == common[0][0]]
    test_pair = _item_test([items[i] for i in paired]) if len(paired) > 1 else None
    place = {model: column for column, model in enumerate(paired)}

    def test(first: int, second: int) -> tuple[float, str]:
        if test_pair is not None and first in place and second in place:
            return test_pair(place[first], place[second])
        return intervals_p(numbers[first], numbers[second]), "95 % intervals"

    pairs = [(i, j) for i in range(len(numbers)) for j in range(i + 1, len(numbers))]
    tested = [test(*pair) for pair in pairs]
    corrected = dict(zip(pairs, holm([p for p, _ in tested]), strict=True))
    group = rank_groups(len(numbers), lambda i, j: corrected[i, j] < level)
    against_best = [1.0 if i == 0 else corrected[0, i] for i in range(len(numbers))]
    return Comparison(group, against_best, sorted({name for _, name in tested}))


def _item_test(items: Sequence[Items]) -> Any:
    """The test of two of these models, all of which answered the same items."""
    first = items[0]
    score_NM = np.stack([_in_order(i, first.ids) for i in items], axis=1)
    plain = len(set(first.group_N)) == len(first.ids) and np.ptp(first.weight_N) == 0
    if plain and all(i.is_binary for i in items):

        def paired(one: int, two: int) -> tuple[float, str]:
            gap_N = score_NM[:, one] - score_NM[:, two]
            return mcnemar(int((gap_N > 0).sum()), int((gap_N < 0).sum())), "exact McNemar"

        return paired
    group_N = np.unique(first.group_N, return_inverse=True)[1]
    mean_RM = bootstrap_means(score_NM, first.weight_N, group_N)
    groups = min(int(group_N.max()) + 1, MAX_BLOCKS)

    def resampled(one: int, two: int) -> tuple[float, str]:
        if groups == 1:  # of which every resample is the same
            return 1.0, "nothing (one group)"
        return bootstrap_p(mean_RM[:, one] - mean_RM[:, two], groups), "paired bootstrap"

    return resampled


def _in_order(items: Items, ids: Sequence[str]) -> np.ndarray:
    assert items.score_N is not None
    by_id = dict(zip(items.ids, items.score_N, strict=True))
    return np.array([by_id[name] for name in ids])
