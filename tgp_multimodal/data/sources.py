"""Raw data to documents: text files, JSON lines, parquet, CSV, TSV; a file, a folder or a pattern.

A source is named by `path` or `stream=path`. Reading is lazy and may be done again. What cannot be
read comes out as `Bad` in its place; what is wrong with a file as a whole raises ValueError.
"""

import glob
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tgp_multimodal.data import rows
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.data.records import Document
from tgp_multimodal.names import beside

PREFIX = "hub:"  # of data sets that `hub.py` reads
TEXT_SUFFIXES = (".txt", ".md")

_SPEC = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)
_SHARD = re.compile(r"[-_.]?\d+(-of-\d+)?$")
_SAY_NOTHING = ("", "train", "validation", "test", "data", "part", "shard", "default")
_TEXT_KINDS = (
    "text files (.txt, .md) or tables (.parquet, .jsonl, .jsonl.gz, .jsonl.zst, .csv, .tsv)"
)
_PACKED = (".gz", ".tgz", ".zst", ".xz", ".bz2", ".zip", ".7z", ".rar")
_CARD = ".card.json"
_LONGEST = 8_000_000  # bytes of a text file that is one document, and of a line
_PIECE = 1_000_000  # bytes of the documents that a longer one is cut into, at a line


class Source(NamedTuple):
    """Somewhere that rows come from.

    Attributes:
        name: as the user calls it.
        stream: which mixture its rows belong to.
        read: starts reading from the beginning; yields rows and `Bad`.
        rows: how many there will be, if that is known.
        bytes: size on disk.
        license: what the card beside the data says, if there is one; of files that differ, how
            many have which.
        split: the split of all rows; None leaves it to a hash of each.
        state: changes whenever the rows may have changed; None if nobody knows.
    """

    name: str
    stream: str
    read: Callable[[], Iterator[Any]]
    rows: int | None = None
    bytes: int = 0
    license: Any = None
    split: str | None = None
    state: str | None = None


def text(spec: str, column: str = "text") -> Source:
    """Documents of a text file, a table with a column of text, or a folder or pattern of such.

    Args:
        spec: `path` or `stream=path`; a file that is no table is one document, whatever its suffix,
            or, beyond 8 MB, several of about 1 MB that end with a line.
        column: the column of tables.

    Raises:
        ValueError: there is nothing of that kind.
    """
    stream, place = parse(spec)
    files = find(place, _is_text, "text", _TEXT_KINDS)
    stream = stream or stream_of(place)

    def documents() -> Iterator[Document | Bad]:
        for file in files:
            yield from _documents(file, column, stream)

    return Source(
        place,
        stream,
        documents,
        count(files),
        size(files),
        stated(licenses(files)),
        state=state_of(files, column),
    )


def parse(spec: str) -> tuple[str | None, str]:
    """Stream and place of `stream=path` or `path`; an existing path is never taken apart."""
    found = None if Path(spec).exists() else _SPEC.fullmatch(spec)
    return (found[1], found[2]) if found else (None, spec)


def find(place: str, wanted: Callable[[Path], bool], what: str, kinds: str) -> list[Path]:
    """The files that a place stands for, in the order of their names.

    Args:
        place: a file or a pattern, taken as it is, or a folder, searched through all levels.
        wanted: which files of a folder count.
        what: what the user calls the data, for messages.
        kinds: which files of a folder count, for messages.

    Raises:
        ValueError: there are none, or a folder holds packed files that are not read.
    """
    path = Path(place)
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = [p for p in sorted(walk(path)) if p.is_file() and not is_hidden(p, path)]
        files = [p for p in inside if wanted(p)]
        if not files:
            there = _kinds(inside)
            raise ValueError(f"{what} must be a folder with {kinds}. Got {place} {there} instead.")
        _check_unpacked(what, path, sorted({*inside} - {*files}))
        return files
    found = glob.glob(place, recursive=True)  # noqa: PTH207  (Path.glob takes no absolute pattern)
    files = [Path(p) for p in sorted(found) if Path(p).is_file()]
    if not files:
        there = f"{place}, which does not exist,"
        raise ValueError(f"{what} must be a file or a folder. Got {there} instead.{beside(path)}")
    return files


def _check_unpacked(what: str, folder: Path, left_out: Sequence[Path]) -> None:
    """Other kinds of files are passed over; a packed one may well be data."""
    packed = [p.relative_to(folder) for p in left_out if p.name.lower().endswith(_PACKED)]
    if packed:
        got = f"{folder} with {len(packed)} that cannot be read packed, such as {packed[0]},"
        raise ValueError(
            f"{what} must be a folder of unpacked files (unpack the others, move them away or name"
            f" a pattern). Got {got} instead."
        )


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, also in folders that links lead to, each folder once."""
    seen = set[str]()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        shown = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [] if real in seen else shown
        if real not in seen:
            yield from (Path(place) / name for name in names)
        seen.add(real)


def is_hidden(path: Path, root: Path) -> bool:
    """Whether a file, or a folder on the way to it from `root`, is hidden."""
    return any(part.startswith((".", "__MACOSX")) for part in path.relative_to(root).parts)


def count(files: Sequence[Path]) -> int | None:
    """Number of rows of all files, if that is known without reading them."""
    counts = [rows.count(f) if rows.is_table(f) else _pieces(f) for f in files]
    return None if None in counts else sum(c or 0 for c in counts)


def size(files: Sequence[Path]) -> int:
    """Bytes of all files on disk."""
    return sum(f.stat().st_size for f in files)


def state_of(files: Sequence[Path], settings: str) -> str:
    """Hash of the names, sizes and times of all files, so that a change of one is seen.

    Args:
        files: all that rows are read from.
        settings: what decides which part of them is read.
    """
    digest = hashlib.sha256(settings.encode())
    for file in files:
        found = file.stat()
        digest.update(os.fsencode(file.resolve()))
        digest.update(f" {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def root_of(place: str, files: Sequence[Path]) -> Path:
    """A place's folder: itself, that of a file, or that of a pattern before its first wildcard."""
    path = Path(place)
    if path.is_dir():
        return path
    if path.is_file():
        return files[0].parent
    magic = next((i for i, part in enumerate(path.parts) if glob.has_magic(part)), None)
    return Path(*path.parts[:magic])


def short_name(name: str, last: int = 1) -> str:
    """The end of a source's name that tells it from others.

    Args:
        name: of the source.
        last: parts of a path at least; a pattern has all of its parts, and the folder before them.
    """
    parts = Path(name).parts
    magic = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return str(Path(*parts[max(0, min(magic - 1, len(parts) - last)) :]))


def stream_of(place: str) -> str:
    """A stream's name from a path: of the folder, or of the file without its shard number."""
    path = Path(place)
    while glob.has_magic(path.name):
        path = path.parent
    path = path.resolve()
    names = [path.name] if path.is_dir() else [path.name.partition(".")[0], path.parent.name]
    short = [_SHARD.sub("", name).lower() for name in names]
    return next((name for name in short if name not in _SAY_NOTHING), "data")


def licenses(files: Sequence[Path]) -> dict[Path, Any]:
    """What the cards say of the license of each file."""
    is_there = {
        folder: any(folder.glob(f"*{_CARD}"))
        or (folder / "card.json").is_file()
        or (folder.parent / (folder.name + _CARD)).is_file()
        for folder in {file.parent for file in files}
    }
    return {file: license_of(file) if is_there[file.parent] else None for file in files}


def stated(found: Mapping[Path, Any]) -> Any:
    """The license of all files, or how many files have which where they differ."""
    first, *others = found.values()
    if all(other == first for other in others):
        return first
    return dict(Counter("not stated" if one is None else str(one) for one in found.values()))


def license_of(file: Path) -> Any:
    """What `<file>.card.json` beside a file, or the card of its folder, says of its license."""
    stem = file.name.partition(".")[0]
    names = [file.name, file.stem, stem, _SHARD.sub("", stem)]
    cards = [file.parent / (name + _CARD) for name in names]
    cards += [file.parent / "card.json", file.parent.parent / (file.parent.name + _CARD)]
    for path in filter(Path.is_file, cards):
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        inside = card.get(stem) if isinstance(card, dict) else None
        for part in (card, inside):
            if isinstance(part, dict) and "license" in part:
                return part["license"]
    return None


def table_documents(
    read: Callable[[rows.Choose], Iterator[rows.Row | Bad]], where: str, column: str, stream: str
) -> Iterator[Document | Bad]:
    """Documents of one column of a table, which `read` opens."""
    for row in read(lambda there: [rows.column("text_column", column, there, where)]):
        if isinstance(row, Bad):
            yield row
            continue
        try:
            yield Document(valid_text(row[1][column], column), stream, f"{where}:{row[0]}")
        except ValueError as error:
            yield Bad(where, row[0], str(error))


def valid_text(value: Any, column: str = "") -> str:
    """A text that has something in it.

    Raises:
        ValueError: it has not; the message is a reason for a bad row.
    """
    if value is None:
        raise ValueError(f"column {column!r} is missing or null")
    found = rows.decoded(value) if isinstance(value, bytes) else value
    if not isinstance(found, str):
        raise ValueError(f"column {column!r} holds {type(found).__name__} and no text")
    if not found.strip():
        raise ValueError("empty text")
    try:
        found.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half a surrogate pair at character {error.start}") from None
    return found


def _is_text(path: Path) -> bool:
    return rows.is_table(path) or path.suffix.lower() in TEXT_SUFFIXES


def _documents(file: Path, column: str, stream: str) -> Iterator[Document | Bad]:
    if rows.is_table(file):
        yield from table_documents(partial(rows.read, file), str(file), column, stream)
        return
    try:
        with file.open("rb") as lines:
            if _pieces(file) == 1:
                yield _document(lines.read(), file, "whole file", stream)
                return
            number = 0
            while raw := lines.read(_PIECE) + lines.readline(_LONGEST):
                for _ in range(3):  # the rest of a character
                    raw += lines.read((lines.peek(1)[:1] or b"a")[0] & 0xC0 == 0x80)
                number += 1
                yield _document(raw, file, f"part {number}", stream)
    except OSError as error:
        yield Bad(str(file), "whole file", str(error))


def _document(raw: bytes, file: Path, part: str, stream: str) -> Document | Bad:
    try:
        return Document(valid_text(raw), stream, str(file))
    except ValueError as error:
        return Bad(str(file), part, str(error), not raw.strip())


def _pieces(file: Path) -> int | None:
    """1 for a text file that is one document, None for one that is too long for that."""
    return 1 if file.stat().st_size <= _LONGEST else None


def _kinds(files: Sequence[Path]) -> str:
    kinds = Counter(f.suffix.lower() or f.name for f in files).most_common(5)
    listed = ", ".join(f"{n} {suffix}" for suffix, n in kinds)
    return f"with {listed}" if kinds else "with no files"
