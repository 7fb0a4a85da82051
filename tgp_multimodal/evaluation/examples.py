"""Card to examples: rows of the source, a fixed subset of them, fields by columns and templates."""

import hashlib
import importlib
import io
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.runtime import Undefined
from jinja2.sandbox import SandboxedEnvironment
from PIL import Image

from tgp_multimodal.data import images
from tgp_multimodal.evaluation import embedded_tasks, held_out
from tgp_multimodal.evaluation.cards import SPLITS, Card, paths_of
from tgp_multimodal.evaluation.csv_rows import csv_rows, parquet_rows
from tgp_multimodal.evaluation.item_checks import check
from tgp_multimodal.evaluation.pairing import paired
from tgp_multimodal.names import unknown

# Endings of the files that a card may name.
FORMATS = ("json", "jsonl", "parquet", "csv")


def _written(value: Any) -> Any:
    """What a template writes; a null would be written as the word None."""
    if value is None:
        raise ValueError("a value that it writes is missing (null)")
    return value


_JINJA = SandboxedEnvironment(
    undefined=StrictUndefined, keep_trailing_newline=True, finalize=_written
)
_SUBSET_SEED = 20240613
_TRAIN_PER_TEST = 8  # a limited run keeps at most so many training items for each test item

Row = dict[str, Any]


class Example(NamedTuple):
    """One item, rendered.

    Attributes:
        id: unique within its split.
        fields: by the names that the card's protocol wants.
        group: items of one group are not independent; the id where card or row names none.
    """

    id: str
    fields: dict[str, Any]
    group: str

    @property
    def digest(self) -> str:
        """SHA-256 of the fields."""
        return _digest(self.fields)


class Examples:
    """The splits of one card; each is read when it is first asked for.

    Attributes:
        card: where they are from.
        limit: at most so many test items, and eight times as many training items (all of them where
            they are few-shot examples, so that prompts are those of a complete run); None for all.
    """

    def __init__(self, card: Card, limit: int | None = None) -> None:
        self.card = card
        self.limit = limit

    @cached_property
    def test(self) -> list[Example]:
        found = self._split("test", self.limit)
        if not found:
            raise ValueError(f"{self.card.name}: test split must hold an item. Got none instead.")
        return found

    @cached_property
    def train(self) -> list[Example]:
        return self._split("train", self._most)

    @cached_property
    def validation(self) -> list[Example]:
        return self._split("validation", self._most)

    @cached_property
    def corpus(self) -> list[Example]:
        found = self._split("corpus", None)
        if not self.card.spec.has_documents:
            return found
        # Documents of one id are one document: the first stands for all.
        return list({str(e.fields["document_id"]): e for e in found[::-1]}.values())[::-1]

    @property
    def _most(self) -> int | None:
        if self.limit is None or self.card.spec.has_shots:
            return None
        return self.limit * _TRAIN_PER_TEST

    def read(self) -> int:
        """Reads what every model needs and returns the number of test items."""
        wanted = self.card.spec.splits
        for split in wanted:
            getattr(self, split)
        self._check_labels(wanted)
        return len(self.test)

    def _check_labels(self, splits: Sequence[str]) -> None:
        """Refuses labels that are text in one split and numbers in another: none would be equal."""
        found = {
            split: {isinstance(e.fields["label"], str) for e in getattr(self, split)}
            for split in ("test", *splits)
            if "label" in self.card.columns
        }
        if len(set().union(*found.values())) > 1:
            told = ", ".join(
                f"{' and '.join(('numbers', 'text')[kind] for kind in sorted(kinds))} in {split}"
                for split, kinds in found.items()
            )
            raise ValueError(
                f"{self.card.name}: label must be text in all splits or in none. "
                f"Got {told} instead."
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the test items, in order."""
        return hashlib.sha256("".join(e.digest for e in self.test).encode()).hexdigest()

    def _split(self, split: str, limit: int | None) -> list[Example]:
        found = rows(self.card, split)
        sizes = [s for s in (self.card.sizes.get(split), limit, len(found)) if s is not None]
        # A prefix of one fixed shuffle: smaller subsets are subsets of larger ones.
        order = list(range(len(found)))
        random.Random(_SUBSET_SEED).shuffle(order)
        kept = sorted(order[: min(sizes)])
        return [_render(self.card, found[i], f"{split}-{i}", split) for i in kept]


def check_source(card: Card) -> None:
    """Raises ValueError, in one sentence, where the card's data cannot be there."""
    if "embedded" in card.source:
        if card.source["embedded"] not in embedded_tasks.TASKS:
            name = str(card.source["embedded"])
            raise ValueError(
                f"{card.name}: {unknown('embedded data set', name, embedded_tasks.TASKS)}"
            )
    elif "folder" in card.source:
        _folder(card)
        for split in card.source.get("splits", ()):
            _parquet(card, split)
    elif "files" in card.source:
        for split in card.source["files"]:
            _files(card, split)


def source_digest(card: Card) -> str:
    """SHA-256 of every file that the card reads, those of its training and corpus rows among them.

    Empty where the card itself or the environment names what is read: embedded data by the versions
    of the installation, a prepared folder by its digest, a hub by its revision.
    """
    if "files" in card.source:
        of_split = {split: _files(card, split) for split in card.source["files"]}
    elif "folder" in card.source:
        of_split = {split: [_parquet(card, split)] for split in SPLITS}
    else:
        return ""
    digest = hashlib.sha256()
    for split, paths in sorted(of_split.items()):
        for path in filter(Path.is_file, paths):
            facts = path.stat()
            content = _file_digest(path, facts.st_mtime_ns, facts.st_size)
            digest.update(f"{split}\0{content}\0".encode())
    return digest.hexdigest()


@lru_cache(maxsize=1024)
def _file_digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rows(card: Card, split: str) -> list[Row]:
    """All rows of one split that the card wants, pictures decoded; none without such a split."""
    found = _stored(card, split)
    condition = card.source.get("where", {}).get(split)
    if condition is not None:
        found = [row for row in found if _value(card, "where", condition, row)]
    pairs = card.source.get("pairs")
    return found if pairs is None else paired(found, pairs["same"], pairs["by"], card.name)


def _stored(card: Card, split: str) -> list[Row]:
    if "embedded" in card.source:
        return embedded_tasks.TASKS[card.source["embedded"]](split)
    if "prepared" in card.source:
        return held_out.rows(card, split)
    if "files" in card.source:
        others = [path for name in card.source["files"] for path in _files(card, name)]
        return [row for path in _files(card, split) for row in _file_rows(path, others)]
    if "hub" in card.source:
        return _hub_rows(card, split)
    path = _parquet(card, split)
    return [_decoded(r, path) for r in parquet_rows(path)] if path.is_file() else []


def _name(card: Card, split: str) -> str:
    """What the source calls a split."""
    return str(card.source.get("splits", {}).get(split, split))


def _is_named(card: Card, split: str) -> bool:
    """Whether the card says what its source calls the split, so that it must be there."""
    return split in card.source.get("splits", {})


def _parquet(card: Card, split: str) -> Path:
    """The file of a split, which need not be there where the card does not name it."""
    path = _folder(card) / f"{_name(card, split)}.parquet"
    if _is_named(card, split) and not path.is_file():
        raise ValueError(
            f"{card.name}: splits must name files of {path.parent}."
            f" Got {path.name} for {split}, which is not there, instead."
        )
    return path


def _folder(card: Card) -> Path:
    root = os.environ.get("TGP_DATA")
    if not root:
        raise ValueError(
            f"TGP_DATA must name the folder that holds {card.source['folder']}, the data of card"
            f" {card.name}. Got nothing instead: set it, or take cards that need no data,"
            " those of the suite `embedded`."
        )
    folder = Path(root) / card.source["folder"]
    if not folder.is_dir():
        raise ValueError(
            f"{card.source['folder']} must be a folder below $TGP_DATA for card {card.name}."
            f" Got {root}, which has none, instead."
        )
    return folder


def _files(card: Card, split: str) -> list[Path]:
    paths = paths_of(card.source["files"].get(split, []))
    for path in paths:
        if not path.is_file():
            raise ValueError(
                f"{card.name}: files must be there. Got {path}, which is not, instead."
            )
        if path.suffix[1:] not in FORMATS:
            wanted = f"hold files that end in {', '.join(FORMATS)}"
            raise ValueError(f"{card.name}: files must {wanted}. Got {path} instead.")
    return paths


def _file_rows(path: Path, others: Sequence[Path]) -> list[Row]:
    """Rows of one file; one that lacks a column that others have gets None there.

    Args:
        path: the file.
        others: all files of the card.
    """
    if path.suffix == ".parquet":
        return [_decoded(row, path) for row in parquet_rows(path)]
    if path.suffix == ".csv":
        return csv_rows(path, others)
    try:
        text = path.read_text(encoding="utf-8")
        is_list = text.lstrip().startswith("[")
        found = (
            json.loads(text) if is_list else [*map(json.loads, filter(str.strip, text.split("\n")))]
        )
        names = dict.fromkeys(name for row in found for name in dict(row))
        return [{name: row.get(name) for name in names} for row in found]
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must hold JSON mappings, one a row. Got {error} instead."
        ) from None


def _hub_rows(card: Card, split: str) -> list[Row]:
    # By name, since it costs a second that only this source has to pay.
    datasets = importlib.import_module("datasets")
    hub, config, revision = (card.source.get(key) for key in ("hub", "config", "revision"))
    try:
        found = datasets.load_dataset(hub, config, revision=revision)
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ValueError(f"{card.name}: hub must name data. Got {hub} ({line}) instead.") from None
    name = _name(card, split)
    if _is_named(card, split) and name not in found:
        raise ValueError(
            f"{card.name}: splits must name splits of {card.source['hub']} ({', '.join(found)})."
            f" Got {name} for {split} instead."
        )
    return [_decoded(dict(r), Path(card.source["hub"])) for r in found.get(name, [])]


def _decoded(row: Row, path: Path) -> Row:
    return {name: _pixels(value, path, name) for name, value in row.items()}


def _pixels(value: Any, path: Path, name: str) -> Any:
    try:
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            value = Image.open(io.BytesIO(value["bytes"]))
        return np.asarray(images.upright(value)) if isinstance(value, Image.Image) else value
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} must be a picture in {path}. Got {error} instead.") from None


_DOCUMENT_FIELDS = ("document", "document_id")  # of a corpus; its questions have the others


def _render(card: Card, row: Row, name: str, split: str) -> Example:
    if card.spec.has_documents:
        wanted = [f for f in _said(card) if (f in _DOCUMENT_FIELDS) == (split == "corpus")]
    else:
        wanted = list(_said(card))
    fields = {f: _field(card, f, row) for f in wanted}
    if problem := check(card.protocol, fields, card.modality):
        raise ValueError(f"{card.name}, {name}: {problem}")
    group = fields.pop("group", None)
    # An empty cell of a CSV is an empty text.
    return Example(name, fields, name if group in (None, "") else str(group))


def _said(card: Card) -> Iterator[str]:
    yield from card.columns
    yield from card.templates


def _field(card: Card, field: str, row: Row) -> Any:
    if field in card.templates:
        return _value(card, field, card.templates[field], row, _rendered)
    return _value(card, field, card.columns[field], row)


def _rendered(template: str) -> Callable[..., str]:
    return _template(template).render


def _value(
    card: Card, name: str, said: str, row: Row, compiled: Callable[[str], Any] | None = None
) -> Any:
    """What an expression (or what else is compiled) makes of a row."""
    try:
        value = (compiled or _expression)(said)(row)  # a mapping: a column may be called self
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(
            f"{card.name}: {name} must be made of the columns {', '.join(row)}."
            f" Got {said!r} ({error}) instead."
        ) from None
    if isinstance(value, Undefined):
        raise ValueError(
            f"{card.name}: {name} must be one of the columns {', '.join(row)}."
            f" Got {said!r} instead."
        )
    return value


@lru_cache(maxsize=256)
def _template(source: str) -> Template:
    return _JINJA.from_string(source)


@lru_cache(maxsize=256)
def _expression(source: str) -> Callable[..., Any]:
    return _JINJA.compile_expression(source, undefined_to_none=False)


def _digest(value: Any) -> str:
    def plain(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            return hashlib.sha256(f"{item.shape}".encode() + item.tobytes()).hexdigest()
        if isinstance(item, np.generic):
            return item.item()
        return repr(item)

    return hashlib.sha256(json.dumps(value, sort_keys=True, default=plain).encode()).hexdigest()
