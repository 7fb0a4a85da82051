"""Items with labels: what a model is adapted to, from tables and folders of pictures.

If the kind of task is not given, it is inferred from the labels: names are classes, lists are
several labels at once or (one for each word) tags, and many different numbers are a quantity.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from tgp_multimodal.data import images, rows
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.data.sources import is_hidden, valid_text, walk

Kind = Literal["classification", "multi_label", "regression", "tagging"]
KINDS: tuple[Kind, ...] = ("classification", "multi_label", "regression", "tagging")
SEPARATOR = "|"  # between the labels of a multi-label cell of text

_FEW_NUMBERS = 12  # so many different whole numbers may be classes; more are a quantity
_MOST = 0.9  # share of lists as long as their words that are tags, of numbers that are a quantity
_SHOWN = 5


class Item(NamedTuple):
    """Something to judge and what is said of it.

    Attributes:
        item: a text, a pair of texts, a tuple of words, or a picture of unsigned bytes (Y, X, C).
        label: a name, a tuple of names (several labels; or a tag for each word), or a number.
        where: which one, for messages and tables.
        group: items of one group are not independent.
    """

    item: Any
    label: Any
    where: str
    group: str


class Predicted(NamedTuple):
    """An answer.

    Attributes:
        label: as that of an `Item`.
        probability: that the label is right: of the class; of several labels that just these hold,
            taken as independent; of tags that of the least certain word. None of a quantity.
        probabilities: of each label, (K,), or of each tag of each word, (W, K); None of a quantity.
    """

    label: Any
    probability: float | None
    probabilities: np.ndarray | None


class Splits(NamedTuple):
    """A task.

    Attributes:
        kind: of the labels.
        reads: "text", "pair", "words" or "picture".
        train, validation, test: its items.
        name: for messages and reports.
        metric: what decides, a name in `evaluation.task_scores`; "" for the usual one of the kind.
        positive: the label that F1 is of, where that is the metric.
        columns: where a table had the items; None of other sources.
    """

    kind: Kind
    reads: str
    train: list[Item]
    validation: list[Item]
    test: list[Item]
    name: str
    metric: str = ""
    positive: str = ""
    columns: "Columns | None" = None


class Columns(NamedTuple):
    """Columns of a table of labelled texts."""

    text: str = "text"
    label: str = "label"
    second: str | None = None

    def choose(self, path: Path) -> rows.Choose:
        """Says which columns of a file to read, with an error for one that is missing."""

        def wanted(there: Sequence[str]) -> list[str]:
            named = {"text": self.text, "label": self.label, "second": self.second}
            return [rows.column(n, c, there, path) for n, c in named.items() if c is not None]

        return wanted


class Raw(NamedTuple):
    """An item whose label has not been read."""

    item: Any
    label: Any
    where: str


def table(path: Path, columns: Columns, option: str = "train") -> Iterator[Raw | Bad]:
    """Items of a CSV, TSV, JSON lines or parquet file, labels as they stand there.

    Args:
        path: the file.
        columns: which of it.
        option: what the user calls the file, for messages.

    Raises:
        ValueError: the file is none of these, or lacks a column.
    """
    check_table(path, option)
    for row in rows.read(path, columns.choose(path)):
        if isinstance(row, Bad):
            yield row
            continue
        try:
            yield Raw(readable(row[1], columns), row[1][columns.label], f"{path}:{row[0]}")
        except ValueError as error:
            yield Bad(str(path), row[0], str(error))


def check_table(path: Path, option: str) -> None:
    """Refuses what is no file of rows.

    Args:
        path: what the user named.
        option: what the user calls it, for messages.

    Raises:
        ValueError: it is not there, or of another kind.
    """
    if not path.is_file():
        raise ValueError(f"{option} must be a file or a folder that is there. Got {path} instead.")
    if not rows.is_table(path):
        kinds = ", ".join(rows.SUFFIXES)
        raise ValueError(
            f"{option} must be a folder of pictures or a file ({kinds}). Got {path} instead."
        )


def readable(row: dict[str, Any], columns: Columns) -> Any:
    """The text, the pair of texts, or the words of a row.

    Raises:
        ValueError: there is nothing to read in it; the message is a reason for a bad row.
    """
    found = row[columns.text]
    if isinstance(found, list | tuple):
        words = tuple(valid_text(w, columns.text) for w in found)
        if not words:
            raise ValueError("empty text")
        if columns.second is not None:
            raise ValueError("a list of words in the place of the first of two texts")
        return words
    first = valid_text(found, columns.text)
    if columns.second is None:
        return first
    return first, valid_text(row[columns.second], columns.second)


def folder_of_pictures(root: Path, option: str = "train") -> Iterator[Raw | Bad]:
    """Pictures of a folder with one folder for each class; `option` is its name in messages.

    Folders in that of a class belong to it.

    Raises:
        ValueError: there is no such folder in it, or no picture in those.
    """
    classes = [p for p in root.glob("*") if p.is_dir()]
    files = sorted(p for each in classes for p in walk(each) if p.suffix.lower() in images.SUFFIXES)
    files = [p for p in files if not is_hidden(p, root)]
    if not files:
        raise ValueError(
            f"{option} must hold a folder of pictures for each class. Got {root} instead."
        )
    for file in files:
        inside = file.relative_to(root)
        where = inside.as_posix()
        try:
            yield Raw(pixels(file), inside.parts[0], where)
        except (ValueError, OSError) as error:
            yield Bad(str(root), where, str(error))


def pixels(file: Path) -> np.ndarray:
    """A picture, upright and in a square, as unsigned bytes (Y, X, C).

    Raises:
        ValueError: it cannot be decoded; the message is a reason for a bad row.
    """
    return images.decode(file.read_bytes(), _SIDE)


_SIDE = 256  # pixels; whoever looks resizes to what the network sees


def kind_of(found: Sequence[Raw]) -> Kind:
    """The kind of a task, by its labels.

    Lists that are as long as their list of words, but for a few that are wrong, are tags, other
    lists several labels. Numbers with a fraction, or more than twelve different whole ones, are a
    quantity, but for a few that are no numbers. All else are classes, and missing labels nothing.
    """
    found = [raw for raw in found if not _is_missing(raw.label)]
    if any(isinstance(raw.label, list | tuple) for raw in found):
        is_words = all(isinstance(raw.item, tuple) for raw in found)
        return "tagging" if is_words and _as_long(found) else "multi_label"
    numbers = [n for raw in found if (n := _number(raw.label)) is not None]
    is_whole = all(n == int(n) for n in numbers)
    are_few = is_whole and len({*numbers}) <= _FEW_NUMBERS
    is_classes = are_few or len(numbers) < _MOST * len(found)
    return "classification" if is_classes else "regression"


def _as_long(found: Sequence[Raw]) -> bool:
    fitting = sum(
        isinstance(raw.label, list | tuple) and len(raw.label) == len(raw.item) for raw in found
    )
    return fitting >= _MOST * len(found)


def _is_missing(label: Any) -> bool:
    return label is None or label != label or (isinstance(label, str) and not label.strip())


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # float("1_2") is 12
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def labelled(raw: Raw, kind: Kind) -> Item | Bad:
    """An item with its label as the kind of task wants it.

    In a cell of plain text several labels are parted by "|", words and tags by white space.
    """
    try:
        item, label = _READERS[kind](raw)
    except ValueError as error:
        file, _, row = raw.where.rpartition(":")
        return Bad(file, row, str(error))
    return Item(item, label, raw.where, _content(item))


def _content(item: Any) -> str:
    """Hash of an item: duplicates share a group, so that they stay in one split."""
    raw = item.tobytes() if isinstance(item, np.ndarray) else repr(item).encode()
    return hashlib.sha256(raw).hexdigest()


def _name(raw: Raw) -> tuple[Any, str]:
    if _is_missing(raw.label) or isinstance(raw.label, list | dict):
        raise ValueError(f"label must be a name. Got {raw.label!r} instead")
    return raw.item, str(raw.label).strip()


def _names(raw: Raw) -> tuple[Any, tuple[str, ...]]:
    if not isinstance(raw.label, str | list | tuple):
        got = "none" if raw.label is None else repr(raw.label)
        raise ValueError(f"label must be a list of names. Got {got} instead")
    several = raw.label.split(SEPARATOR) if isinstance(raw.label, str) else list(raw.label)
    if any(one is None or one != one for one in several):
        raise ValueError(f"label must be a list of names. Got {raw.label!r} instead")
    return raw.item, tuple(dict.fromkeys(str(one).strip() for one in several if str(one).strip()))


def _quantity(raw: Raw) -> tuple[Any, float]:
    number = _number(raw.label)
    if number is None:
        raise ValueError(f"label must be a number. Got {raw.label!r} instead")
    return raw.item, number


def _tags(raw: Raw) -> tuple[Any, tuple[str, ...]]:
    words = tuple(raw.item.split()) if isinstance(raw.item, str) else raw.item
    if not isinstance(raw.label, str | list | tuple | None):
        raise ValueError(f"tags must be {len(words)}, one for each word. Got {raw.label!r} instead")
    tags = raw.label.split() if isinstance(raw.label, str) else list(raw.label or ())
    if len(words) != len(tags):
        raise ValueError(f"tags must be {len(words)}, one for each word. Got {len(tags)} instead")
    if any(map(_is_missing, tags)):
        raise ValueError(f"tags must be names. Got {raw.label!r} instead")
    return words, tuple(map(str, tags))


_READERS: dict[Kind, Callable[[Raw], tuple[Any, Any]]] = {
    "classification": _name,
    "multi_label": _names,
    "regression": _quantity,
    "tagging": _tags,
}


def reads(items: Sequence[Item], kind: Kind) -> str:
    """What the items are: "text", "pair", "words" or "picture".

    Raises:
        ValueError: some are lists of words, which only a tagging task reads.
    """
    first = items[0].item
    if kind == "tagging":
        return "words"
    if any(isinstance(item.item, tuple) and len(item.item) != 2 for item in items):
        raise ValueError(f"text must be one text for {kind}. Got a list of words instead.")
    if isinstance(first, np.ndarray):
        return "picture"
    return "text" if isinstance(first, str) else "pair"


def draw(
    items: Sequence[Item], kind: Kind, share: float, seed: int, parts: int = 1
) -> tuple[list[Item], ...]:
    """Stratified split by group: what stays for training, then each held-out part, in order.

    A part has this share of the items of each class, in whole groups. A multi-label task cannot be
    stratified by class; there every label still occurs in training.

    Raises:
        ValueError: a class has too few groups, so that none of them can be held back in each part,
            or so have labels of a multi-label task.
    """
    strata: dict[str, dict[str, list[int]]] = {}
    where: dict[str, str] = {}  # group -> its stratum: that of its first item
    for number, item in enumerate(items):
        own = item.label if kind == "classification" else ""
        stratum = where.setdefault(item.group, own)
        strata.setdefault(stratum, {}).setdefault(item.group, []).append(number)
    few = [next(iter(groups.values()))[0] for groups in strata.values() if len(groups) <= parts]
    if few:
        names = ", ".join(f"{items[i].label!r} ({items[i].where})" for i in few[:_SHOWN])
        raise ValueError(
            f"each class must have at least {parts + 1} different items, so that one can be held"
            f" back for each split (or give --validation and --test). Got fewer of {names} instead."
        )
    generator = np.random.default_rng(seed)
    part_N = np.zeros(len(items), dtype=int)  # 0 stays
    rest = Counter(name for item in items for name in _several(item, kind))
    for groups in strata.values():
        units = list(groups.values())
        wanted = max(1, round(share * sum(map(len, units))))
        part, count, staying = 1, 0, len(units)
        order = generator.permutation(len(units))
        is_large = np.array([len(units[place]) > wanted for place in order])
        for place in order[np.argsort(is_large, kind="stable")]:  # large groups come last
            unit = units[place]
            lost = Counter(name for i in unit for name in _several(items[i], kind))
            if part > parts or any(rest[name] <= n for name, n in lost.items()):
                continue
            rest -= lost
            part_N[unit], count, staying = part, count + len(unit), staying - 1
            if count >= wanted or staying == 1 + parts - part:
                part, count = part + 1, 0
    if len(np.unique(part_N)) <= parts:  # a label of almost every item occurs in no other
        raise ValueError(
            "labels must occur often enough that items can be held back for each split and none"
            f" leaves training (or give --validation and --test). Got {len(items)} items instead."
        )
    return tuple([items[i] for i in np.flatnonzero(part_N == p).tolist()] for p in range(parts + 1))


def _several(item: Item, kind: Kind) -> tuple[str, ...]:
    return item.label if kind == "multi_label" else ()


def label_names(items: Sequence[Item], kind: Kind) -> list[str]:
    """All labels that occur, in alphabetical order; none of a quantity."""
    if kind == "regression":
        return []
    if kind == "classification":
        return sorted({item.label for item in items})
    return sorted({name for item in items for name in item.label})


def check_seen(split: str, items: Sequence[Item], kind: Kind, known: Sequence[str]) -> None:
    """Raises ValueError where a split has a label that training has not."""
    if kind == "regression":
        return
    labels = Counter(
        name
        for item in items
        for name in ((item.label,) if kind == "classification" else set(item.label))
    )
    new = {name: count for name, count in labels.items() if name not in set(known)}
    if new:
        shown = ", ".join(f"{n!r} ({c} items)" for n, c in list(new.items())[:_SHOWN])
        raise ValueError(f"labels of {split} must occur in training. Got {shown} instead.")
