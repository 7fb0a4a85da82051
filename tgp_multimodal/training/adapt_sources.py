"""Where the items come from that a model is adapted to: a card, tables, a folder of pictures."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tgp_multimodal.data.labelled import (
    Columns,
    Item,
    Kind,
    Raw,
    Splits,
    draw,
    folder_of_pictures,
    kind_of,
    labelled,
    reads,
    table,
)
from tgp_multimodal.data.quarantine import Bad, Quarantine, Tally

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

    Where validation or test is not given, 15 % of train is held back for it, of each class alike.

    Args:
        files: which ones.
        folder: gets `quarantine-<split>.jsonl` with the rows that cannot be used, if there are any.
        allow_bad: largest share of such rows in a file.
        seed: of what is held back.

    Raises:
        ValueError: a column is missing, too many rows are bad, a class has a single item, or the
            items of the files are of different kinds.
    """
    kind, found, bad = files.kind, dict[str, list[Item]](), 0
    for split in ("train", "validation", "test"):
        path: Path | None = getattr(files, split)
        if path is None:
            continue
        raws = list(_raws(path, files.columns))
        kind = kind or kind_of([raw for raw in raws if isinstance(raw, Raw)])
        tally = Tally(str(path), "labelled item")
        with Quarantine(folder / f"quarantine-{split}.jsonl", allow_bad) as quarantine:
            found[split] = list(quarantine.keep(tally, map(partial(_labelled, kind), raws)))
        bad += tally.bad
    assert kind is not None
    train = found["train"]
    held: dict[str, list[Item]] = {}
    for number, split in enumerate(("test", "validation")):
        if split in found:
            held[split] = found[split]
        else:
            train, held[split] = draw(train, kind, SHARE, seed + number)
    what = reads(train, kind)
    for split in ("validation", "test"):
        if (other := reads(held[split], kind)) != what:
            raise ValueError(f"{split} must hold {what}, as train. Got {other} instead.")
    name = files.train.name
    return Splits(kind, what, train, held["validation"], held["test"], name), bad


def _raws(path: Path, columns: Columns) -> Iterator[Raw | Bad]:
    return folder_of_pictures(path) if path.is_dir() else table(path, columns)


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
