"""Where the items come from that a model is adapted to: a card, tables, a folder of pictures."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tgp_multimodal.data.labelled import (
    Columns,
    Item,
    Kind,
    Raw,
    Splits,
    draw,
    folder_of_pictures,
    kind_of,
    label_names,
    labelled,
    reads,
    table,
)
from tgp_multimodal.data.quarantine import Bad, Quarantine, Tally

_SHOWN = 5  # labels of a note
SHARE = 0.15  # of the items that is held back where a split is not given


class Files(NamedTuple):
    """A user's own files.

    Attributes:
        train: a table, or a folder with one folder of pictures for each class.
        validation: of the same kind; None draws it from train.
        test: likewise.
        columns: of tables.
        kind: of the task; None finds it from the labels of train.
    """

    train: Path
    validation: Path | None
    test: Path | None
    columns: Columns
    kind: Kind | None


def task_of_files(files: Files, folder: Path, allow_bad: float, seed: int) -> tuple[Splits, int]:
    """The task in a user's own files, and how many rows could not be used.

    Where validation or test is not given, 15 % of train is held out for it, stratified by class;
    duplicate items stay together.

    Args:
        files: which ones.
        folder: gets `quarantine-<split>.jsonl` with the rows that cannot be used, if there are any.
        allow_bad: largest share of such rows in a file.
        seed: of what is held back.

    Raises:
        ValueError: a column is missing, too many rows are bad, a class has too few items, or the
            items of the files are of different kinds.
    """
    kind, found, bad = files.kind, dict[str, list[Item]](), 0
    for split in ("train", "validation", "test"):
        path: Path | None = getattr(files, split)
        if path is None:
            continue
        raws = list(_raws(path, files.columns, split))
        kind = kind or _kind(path, raws)
        tally = Tally(str(path), "labelled item")
        with Quarantine(folder / f"quarantine-{split}.jsonl", allow_bad) as quarantine:
            found[split] = list(quarantine.keep(tally, map(partial(_labelled, kind), raws)))
        bad += tally.bad
    assert kind is not None
    train = found["train"]
    missing = [split for split in ("test", "validation") if split not in found]
    if missing:
        train, *parts = draw(train, kind, SHARE, seed, len(missing))
        found |= dict(zip(missing, parts, strict=True))
    what = reads(train, kind)
    for split in ("validation", "test"):
        if (other := reads(found[split], kind)) != what:
            raise ValueError(f"{split} must hold {what}, as train. Got {other} instead.")
    name, columns = files.train.name, None if files.train.is_dir() else files.columns
    return (
        Splits(kind, what, train, found["validation"], found["test"], name, columns=columns),
        bad,
    )


def _raws(path: Path, columns: Columns, option: str) -> Iterator[Raw | Bad]:
    return folder_of_pictures(path, option) if path.is_dir() else table(path, columns, option)


def _kind(path: Path, raws: Iterable[Raw | Bad]) -> Kind:
    """The names of folders are classes, also where they are numbers."""
    if path.is_dir():
        return "classification"
    return kind_of([raw for raw in raws if isinstance(raw, Raw)])


def _labelled(kind: Kind, raw: Raw | Bad) -> Item | Bad:
    return raw if isinstance(raw, Bad) else labelled(raw, kind)


def described(splits: Splits, bad: int) -> Iterable[str]:
    """What was found, in a few lines for the terminal."""
    what = {"text": "texts", "pair": "pairs of texts", "words": "sentences", "picture": "pictures"}
    counts = f"{len(splits.train)} / {len(splits.validation)} / {len(splits.test)}"
    yield f"{splits.name}: {splits.kind} of {what[splits.reads]}"
    yield f"train / validation / test: {counts}"
    if bad:
        yield f"{bad} rows could not be used; they stand in the quarantine files"
    learned = {"validation": "train", "test": "train or validation"}
    for split, count in copies(splits).items():
        if count:
            whole = len(getattr(splits, split))
            yield f"note: {count} of {whole} items of {split} are also in {learned[split]}"
    yield from _labels_to_look_at(splits)


def copies(splits: Splits) -> dict[str, int]:
    """Items that are held out and learned from, too, whatever their labels.

    Returns:
        how many of validation are in train, and how many of test in either.
    """
    known = {_key(item) for item in splits.train}
    found = {"validation": sum(_key(item) in known for item in splits.validation)}
    known |= {_key(item) for item in splits.validation}
    return found | {"test": sum(_key(item) in known for item in splits.test)}


def _labels_to_look_at(splits: Splits) -> Iterator[str]:
    """Notes on labels that are likely mistakes: nothing refuses them, and the scores are bad."""
    if splits.kind not in ("classification", "multi_label"):
        return
    names = label_names(splits.train, splits.kind)
    alike = defaultdict[str, list[str]](list)
    for name in names:
        alike[name.casefold()].append(name)
    for several in [several for several in alike.values() if len(several) > 1][:_SHOWN]:
        yield f"note: labels that differ in case alone: {', '.join(map(repr, several))}"
    new = {name: 0 for name in label_names(splits.test, splits.kind) if name not in set(names)}
    for item in splits.test:
        for name in new.keys() & set(_names_of(item)):
            new[name] += 1
    if new:
        shown = ", ".join(f"{name!r} ({count} items)" for name, count in [*new.items()][:_SHOWN])
        yield f"note: labels of test that nothing teaches: {shown}"
    labels = defaultdict[Any, set[frozenset[str]]](set)
    items = (*splits.train, *splits.validation, *splits.test)
    for item in items:
        labels[_key(item)].add(frozenset(_names_of(item)))
    if count := sum(len(labels[_key(item)]) > 1 for item in items):
        yield f"note: {count} of {len(items)} items occur with different labels"


def _names_of(item: Item) -> tuple[str, ...]:
    return (item.label,) if isinstance(item.label, str) else item.label


def _key(item: Item) -> Any:
    return item.item.tobytes() if isinstance(item.item, np.ndarray) else item.item
