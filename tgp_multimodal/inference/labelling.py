"""Files in, the same files with labels out, a chunk at a time."""

import csv
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tgp_multimodal.data import images, rows
from tgp_multimodal.data.labelled import SEPARATOR, Columns, pixels, readable
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.inference.adapted import Adapted

_CHUNK = 512
_DELIMITERS = {".csv": ",", ".tsv": "\t"}

Row = dict[str, Any]


class Labelling:
    """Labels tables and folders of pictures, and counts what it could not label.

    Args:
        model: who labels.
        columns: of the text, and of the second one.

    Attributes:
        labelled: rows that got a label.
        empty: where rows without text stand; they are written without a label.
        bad: what is wrong with rows that could not be read; they are not written.
    """

    def __init__(self, model: Adapted, columns: Columns) -> None:
        self.model, self.columns = model, columns
        self.labelled = 0
        self.empty: list[str] = []
        self.bad: list[str] = []
        self._names: tuple[str, str] | None = None

    def table(self, path: Path) -> Iterator[list[Row]]:
        """Rows of a table with their labels, some hundred at a time.

        Raises:
            ValueError: the file is no table, lacks a column, or the model judges pictures.
        """
        reads = self.model.task.reads
        if reads == "picture":
            raise ValueError(f"input must be a folder of pictures. Got {path} instead.")
        if (reads == "pair") != (self.columns.second is not None):
            wanted = "be given for" if reads == "pair" else "be left out of"
            raise ValueError(
                f"second must {wanted} a model of {reads}. Got {self.columns.second} instead."
            )
        if not path.is_file():
            raise ValueError(f"input must be there. Got {path}, which is not, instead.")
        if not rows.is_table(path):
            kinds = ", ".join(rows.SUFFIXES)
            raise ValueError(f"input must be a file of a known kind ({kinds}). Got {path} instead.")
        found = rows.read(path, self._all(path), late=None)
        while chunk := list(islice(found, _CHUNK)):
            yield self._labelled(path, chunk)

    def _all(self, path: Path) -> rows.Choose:
        def choose(there: Sequence[str]) -> Sequence[str]:
            rows.column("text", self.columns.text, there, path)
            if self.columns.second is not None:
                rows.column("second", self.columns.second, there, path)
            return there

        return choose

    def _labelled(self, path: Path, chunk: Sequence[rows.Row | Bad]) -> list[Row]:
        good: list[Row] = []
        items: list[Any] = []
        places: list[int] = []
        for row in chunk:
            if isinstance(row, Bad):
                self.bad.append(f"{row.source} {row.row}: {row.reason}")
                continue
            try:
                item = readable(row[1], self.columns)
                if isinstance(item, str) != (self.model.task.reads == "text"):
                    told = "a text" if isinstance(item, str) else "a list of words"
                    raise ValueError(f"{told}, which the model does not read")
                items.append(item)
                places.append(len(good))
            except ValueError as error:
                self.empty.append(f"{path} {row[0]}: {error}")
            good.append(dict(row[1]))
        return self._filled(good, items, places)

    def _filled(self, good: list[Row], items: list[Any], places: list[int]) -> list[Row]:
        if self._names is None and good:
            self._names = _free_names({name for row in good for name in row})
        label, probability = self._names or ("label", "probability")
        for row in good:
            if taken := {label, probability} & row.keys():
                raise ValueError(
                    f"columns of the input must be in its first {_CHUNK} rows where they are named"
                    f" as ours are. Got {', '.join(sorted(taken))} further down instead."
                )
            row |= {label: None, probability: None}
        is_tags = self.model.task.kind == "tagging"
        for place, found in zip(places, self.model.predict(items) if items else [], strict=True):
            said = list(found.label) if is_tags else found.label
            good[place] |= {label: said, probability: found.probability}
        self.labelled += len(items)
        return good

    def pictures(self, folder: Path) -> Iterator[list[Row]]:
        """The picture files of a folder, on all levels, with their labels.

        Raises:
            ValueError: there is none, or the model judges texts.
        """
        if self.model.task.reads != "picture":
            raise ValueError(f"input must be a table of texts. Got the folder {folder} instead.")
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in images.SUFFIXES)
        if not files:
            raise ValueError(f"input must hold pictures. Got {folder} with none instead.")
        for start in range(0, len(files), _CHUNK):
            good: list[Row] = []
            items: list[Any] = []
            for file in files[start : start + _CHUNK]:
                try:
                    items.append(pixels(file))
                    good.append({"file": str(file.relative_to(folder))})
                except (OSError, ValueError) as error:
                    self.bad.append(f"{file}: {error}")
            yield self._filled(good, items, list(range(len(good))))


def _free_names(taken: Collection[str]) -> tuple[str, str]:
    """Names of the two new columns, which no column of the input has."""
    for prefix in ("", *(f"predicted_{'again_' * n}" for n in range(len(taken) + 1))):
        label, probability = f"{prefix}label", f"{prefix}probability"
        if label not in taken and probability not in taken:
            return label, probability
    raise AssertionError  # there are more prefixes than columns


@contextmanager
def _gone_if_it_fails(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def writer(path: Path) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Writes rows to a CSV, TSV or JSON lines file, which is there when the last one is written.

    Raises:
        ValueError: the name of the file is of another kind.
    """
    suffix = path.suffix.lower()
    if suffix not in (*_DELIMITERS, ".jsonl"):
        raise ValueError(f"output must end with .csv, .tsv or .jsonl. Got {path} instead.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with _gone_if_it_fails(partial), _opened(partial) as file:
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
