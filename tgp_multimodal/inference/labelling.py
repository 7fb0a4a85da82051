"""Files in, the same files with labels out, a chunk at a time."""

import csv
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from tgp_multimodal.data import images, rows
from tgp_multimodal.data.labelled import SEPARATOR, Columns, pixels, readable
from tgp_multimodal.data.quarantine import Bad, Quarantine, Tally
from tgp_multimodal.data.sources import is_hidden, walk
from tgp_multimodal.inference.adapted import Adapted

_CHUNK = 512
_DELIMITERS = {".csv": ",", ".tsv": "\t"}

Row = dict[str, Any]


class Labeller:
    """Labels tables and folders of pictures, and counts what it could not label.

    Args:
        model: what labels.
        columns: of the text, and of the second one.
        quarantine: where rows and files that cannot be read are written down; they are not
            labelled.
        learned: which of `columns` nobody named: those that the model learned from.

    Attributes:
        labelled: number of rows that got a label.
        unlabelled: which rows got none, and why; they are written without a label.
        tally: counts of what was read.
    """

    def __init__(
        self,
        model: Adapted,
        columns: Columns,
        quarantine: Quarantine,
        learned: Collection[str] = (),
    ) -> None:
        self.model, self.columns, self.quarantine = model, columns, quarantine
        self.learned = learned
        self.labelled = 0
        self.unlabelled: list[str] = []
        self.tally = Tally("input")
        self._names: tuple[str, str] | None = None

    def table(self, path: Path) -> Iterator[list[Row]]:
        """Rows of a table with their labels, some hundred at a time.

        Raises:
            ValueError: the file is no table, lacks a column or holds no row that can be read, or
                the model judges pictures.
        """
        reads = self.model.task.reads
        if reads == "picture":
            raise ValueError(f"input must be a folder of pictures. Got {path} instead.")
        if (reads == "pair") != (self.columns.second is not None):
            wanted = "be given for" if reads == "pair" else "be left out of"
            raise ValueError(
                f"second must {wanted} a model of {reads}. Got {self.columns.second} instead."
            )
        self.tally = Tally(str(path))
        found = self.quarantine.keep(self.tally, rows.read(path, self._all(path), late=None))
        while chunk := list(islice(found, _CHUNK)):
            yield self._labelled(path, chunk)

    def _all(self, path: Path) -> rows.Choose:
        def choose(there: Sequence[str]) -> Sequence[str]:
            for name in ("text", "second"):
                if (wanted := getattr(self.columns, name)) is not None:
                    also = f" (that of training, unless --{name} names another)"
                    rows.column(name + also * (name in self.learned), wanted, there, path)
            return there

        return choose

    def _labelled(self, path: Path, chunk: Sequence[rows.Row]) -> list[Row]:
        items: list[Any] = []
        places: list[int] = []
        for place, (where, row) in enumerate(chunk):
            try:
                items.append(self._item(row))
                places.append(place)
            except ValueError as error:
                self.unlabelled.append(f"{path} {where}: {error}")
        return self._filled([dict(row) for _, row in chunk], items, places)

    def _item(self, row: Row) -> Any:
        """What the model reads of a row; a cell of plain text may hold the words of a tagger."""
        item, reads = readable(row, self.columns), self.model.task.reads
        if isinstance(item, str) and reads == "pair":
            raise ValueError("a text, where the model reads a pair of texts")
        if not isinstance(item, str) and reads == "text":
            raise ValueError("a list of words, where the model reads a text")
        return item

    def _filled(self, found: list[Row], items: list[Any], places: list[int]) -> list[Row]:
        """Rows with their new columns, which are empty where there is no item."""
        if self._names is None and found:
            self._names = _free_names({name for row in found for name in row})
        label, probability = self._names or ("label", "probability")
        is_tags = self.model.task.kind == "tagging"
        has_probability = self.model.task.kind != "regression"
        for row in found:
            if taken := {label, probability} & row.keys():
                raise ValueError(
                    f"columns of the input must be in its first {_CHUNK} rows where they are named"
                    f" as ours are. Got {', '.join(sorted(taken))} further down instead."
                )
            row |= dict.fromkeys((label, probability) if has_probability else (label,))
        answers = self.model.predict(items) if items else []
        for place, answer in zip(places, answers, strict=True):
            given = list(answer.label) if is_tags else answer.label
            found[place][label] = given
            if has_probability:
                found[place][probability] = answer.probability
        self.labelled += len(items)
        return found

    def pictures(self, folder: Path) -> Iterator[list[Row]]:
        """The picture files of a folder, on all levels, with their labels; hidden ones are not.

        Raises:
            ValueError: there is none that can be read, or the model judges texts.
        """
        if self.model.task.reads != "picture":
            raise ValueError(f"input must be a table of texts. Got the folder {folder} instead.")
        files = [p for p in sorted(walk(folder)) if p.suffix.lower() in images.SUFFIXES]
        files = [p for p in files if p.is_file() and not is_hidden(p, folder)]
        self.tally = Tally(str(folder), "picture")
        found = self.quarantine.keep(self.tally, _opened_pictures(folder, files))
        while chunk := list(islice(found, _CHUNK)):
            named = [{"file": str(file.relative_to(folder))} for file, _ in chunk]
            items = [picture for _, picture in chunk]
            yield self._filled(named, items, list(range(len(chunk))))


def _opened_pictures(
    folder: Path, files: Sequence[Path]
) -> Iterator[tuple[Path, np.ndarray] | Bad]:
    for file in files:
        try:
            yield file, pixels(file)
        except (OSError, ValueError) as error:
            yield Bad(str(folder), str(file.relative_to(folder)), str(error))


def check_output(path: Path) -> None:
    """Refuses a file of a kind that `writer` does not write.

    Raises:
        ValueError: its name says so.
    """
    if path.suffix.lower() not in (*_DELIMITERS, ".jsonl"):
        raise ValueError(f"output must end with .csv, .tsv or .jsonl. Got {path} instead.")


def partial_of(path: Path) -> Path:
    """Where the rows of an output stand until the last one is written."""
    return path.with_name(f"{path.name}.partial")


def _free_names(taken: Collection[str]) -> tuple[str, str]:
    """Names of the two new columns, which no column of the input has."""
    for prefix in ("", *(f"predicted_{'again_' * n}" for n in range(len(taken) + 1))):
        label, probability = f"{prefix}label", f"{prefix}probability"
        if label not in taken and probability not in taken:
            return label, probability
    raise AssertionError  # there are more prefixes than columns


@contextmanager
def writer(path: Path) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Writes rows to a CSV, TSV or JSON lines file, which is there when the last one is written.

    Until then, and after an error, they are in the file of `partial_of`; it is gone where there
    are none.

    Raises:
        ValueError: the name of the file is of another kind, or a column begins too late for a
            table.
    """
    check_output(path)
    suffix = path.suffix.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    with _gone_if_empty(partial), _opened(partial) as file:
        table: csv.DictWriter | None = None

        def write(some: Sequence[Row]) -> None:
            nonlocal table
            if suffix == ".jsonl":
                file.writelines(json.dumps(r, ensure_ascii=False, default=str) + "\n" for r in some)
                return
            if table is None and some:
                table = csv.DictWriter(
                    file,
                    list(dict.fromkeys(k for row in some for k in row)),
                    delimiter=_DELIMITERS[suffix],
                )
                table.writeheader()
            new = {k for row in some for k in row} - set(table.fieldnames if table else ())
            if new:
                raise ValueError(
                    "output must end with .jsonl where columns of the input begin further down."
                    f" Got {path}, and {', '.join(sorted(new))} instead."
                )
            if table is not None:
                table.writerows({k: _cell(v) for k, v in row.items()} for row in some)

        yield write
    partial.replace(path)


@contextmanager
def _gone_if_empty(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if path.is_file() and not path.stat().st_size:
            path.unlink()
        raise


def _opened(path: Path) -> IO[str]:
    """A file that takes half of a surrogate pair too, as JSON writes it."""
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


def _cell(value: Any) -> Any:
    """A cell of text; of lists, tags are parted by spaces and labels by bars."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, tuple):
        return SEPARATOR.join(map(str, value))
    return value
