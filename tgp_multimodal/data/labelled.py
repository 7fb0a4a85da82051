"""Items with labels: what a model is adapted to, from tables and folders of pictures.

What kind of task it is follows from the labels where nobody says it: names are classes, lists are
several labels at once or, one for each word, tags, and numbers that vary are a quantity.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from tgp_multimodal.data import images, rows
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.data.sources import valid_text

Kind = Literal["classification", "multi_label", "regression", "tagging"]
KINDS: tuple[Kind, ...] = ("classification", "multi_label", "regression", "tagging")
SEPARATOR = "|"  # between the labels of a multi-label cell of text

_FEW_NUMBERS = 12  # so many different whole numbers may be classes; more are a quantity
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
    """

    kind: Kind
    reads: str
    train: list[Item]
    validation: list[Item]
    test: list[Item]
    name: str
    metric: str = ""
    positive: str = ""


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


def table(path: Path, columns: Columns) -> Iterator[Raw | Bad]:
    """Items of a CSV, TSV, JSON lines or parquet file, labels as they stand there.

    Raises:
        ValueError: the file is none of these, or lacks a column.
    """
    if not path.is_file():
        raise ValueError(f"train must be a file or a folder that is there. Got {path} instead.")
    if not rows.is_table(path):
        kinds = ", ".join(rows.SUFFIXES)
        raise ValueError(
            f"train must be a folder of pictures or a file ({kinds}). Got {path} instead."
        )
    for row in rows.read(path, columns.choose(path)):
        if isinstance(row, Bad):
            yield row
            continue
        try:
            yield Raw(readable(row[1], columns), row[1][columns.label], f"{path}:{row[0]}")
        except ValueError as error:
            yield Bad(str(path), row[0], str(error))


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
        return words
    first = valid_text(found, columns.text)
    if columns.second is None:
        return first
    return first, valid_text(row[columns.second], columns.second)


def folder_of_pictures(root: Path) -> Iterator[Raw | Bad]:
    """Pictures of a folder with one folder for each class.

    Raises:
        ValueError: there is no such folder in it, or no picture in those.
    """
    files = sorted(p for p in root.glob("*/*") if p.suffix.lower() in images.SUFFIXES)
    if not files:
        raise ValueError(
            f"train must hold a folder of pictures for each class. Got {root} instead."
        )
    for file in files:
        where = f"{file.parent.name}/{file.name}"
        try:
            yield Raw(_pixels(file), file.parent.name, where)
        except (ValueError, OSError) as error:
            yield Bad(str(root), where, str(error))


def _pixels(file: Path) -> np.ndarray:
    return images.decode(file.read_bytes(), _SIDE)


_SIDE = 256  # pixels; whoever looks resizes to what the network sees


def kind_of(found: Sequence[Raw]) -> Kind:
    """The kind of a task, by its labels.

    Lists that are as long as their list of words are tags, other lists several labels. Numbers with
    a fraction, or more than twelve different whole ones, are a quantity. All else are classes.
    """
    if any(isinstance(raw.label, list | tuple) for raw in found):
        is_words = all(isinstance(raw.item, tuple) for raw in found)
        return "tagging" if is_words and _as_long(found) else "multi_label"
    numbers = [_number(raw.label) for raw in found]
    if any(n is None for n in numbers):
        return "classification"
    different = {n for n in numbers if n is not None}
    is_whole = all(n == int(n) for n in different)
    return "classification" if is_whole and len(different) <= _FEW_NUMBERS else "regression"


def _as_long(found: Sequence[Raw]) -> bool:
    return all(
        isinstance(raw.label, list | tuple) and len(raw.label) == len(raw.item) for raw in found
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
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
    return Item(item, label, raw.where, raw.where)


def _name(raw: Raw) -> tuple[Any, str]:
    if raw.label is None or str(raw.label).strip() == "" or isinstance(raw.label, list | dict):
        raise ValueError(f"label must be a name. Got {raw.label!r} instead")
    return raw.item, str(raw.label).strip()


def _names(raw: Raw) -> tuple[Any, tuple[str, ...]]:
    if raw.label is None:
        raise ValueError("label must be a list of names. Got none instead")
    several = raw.label.split(SEPARATOR) if isinstance(raw.label, str) else list(raw.label)
    return raw.item, tuple(dict.fromkeys(str(one).strip() for one in several if str(one).strip()))


def _quantity(raw: Raw) -> tuple[Any, float]:
    number = _number(raw.label)
    if number is None:
        raise ValueError(f"label must be a number. Got {raw.label!r} instead")
    return raw.item, number


def _tags(raw: Raw) -> tuple[Any, tuple[str, ...]]:
    words = tuple(raw.item.split()) if isinstance(raw.item, str) else raw.item
    tags = raw.label.split() if isinstance(raw.label, str) else list(raw.label or ())
    if len(words) != len(tags):
        raise ValueError(f"tags must be {len(words)}, one for each word. Got {len(tags)} instead")
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
        ValueError: they are pairs or pictures, which have no words to tag.
    """
    first = items[0].item
    if kind == "tagging":
        return "words"
    if isinstance(first, tuple) and len(first) != 2:
        raise ValueError(f"text must be one text for {kind}. Got a list of words instead.")
    if isinstance(first, np.ndarray):
        return "picture"
    return "text" if isinstance(first, str) else "pair"


def draw(
    items: Sequence[Item], kind: Kind, share: float, seed: int
) -> tuple[list[Item], list[Item]]:
    """What stays and what is held back, both in their order: a share, of each class alike.

    Raises:
        ValueError: a class has one item, so that none of it can be held back.
    """
    strata: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        strata.setdefault(item.label if kind == "classification" else "", []).append(number)
    single = [places[0] for places in strata.values() if len(places) == 1]
    if single:
        names = ", ".join(f"{items[i].label!r} ({items[i].where})" for i in single[:_SHOWN])
        raise ValueError(
            "each class must have at least 2 items, so that one can be held back (or give"
            f" --validation and --test). Got 1 of {names} instead."
        )
    generator = np.random.default_rng(seed)
    held: set[int] = set()
    for places in strata.values():
        count = max(1, round(share * len(places)))
        held.update(generator.permutation(places)[:count].tolist())
    kept = [item for number, item in enumerate(items) if number not in held]
    return kept, [items[number] for number in sorted(held)]


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
