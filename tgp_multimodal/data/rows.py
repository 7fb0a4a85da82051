"""Rows of tables, one dict each: parquet, JSON lines, CSV, TSV; never more than a batch in memory.

A reader is told how to choose among the columns that there are, so that a column that is missing
from a whole file is an error with the names in it, and one that is missing from a row a bad row.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow
from pyarrow import parquet

from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.names import hint

_LINES = (".jsonl", ".ndjson")
# Packed files that end in .json hold lines too, in every large corpus that has them.
_PACKED = tuple(kind + end for kind in (*_LINES, ".json") for end in (".gz", ".zst"))
SUFFIXES = (".parquet", ".csv", ".tsv", *_LINES, *_PACKED)

Row = tuple[str, dict[str, Any]]  # which one, for messages; its columns
Choose = Callable[[Sequence[str]], Sequence[str]]  # columns there are -> columns to read

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SEPARATORS = {";", "|", "\t"}  # of tables that call themselves .csv
_BATCH = 64  # rows of a parquet file; a row may be a picture
_PROBE = 100  # lines that show which columns a file of JSON lines has
_PARQUET_BUFFER = 1 << 20
_LONGEST_FIELD = 2**31 - 1
# What is raised where a packed file is damaged.
_DAMAGE: dict[str, tuple[type[Exception], ...]] = {
    ".gz": (EOFError, gzip.BadGzipFile, zlib.error),
    ".zst": (OSError,),
}
_SURROGATE = re.compile("[\ud800-\udfff]")


def read(path: Path, choose: Choose, late: Sequence[str] | None = ()) -> Iterator[Row | Bad]:
    """The rows of a file, with the columns that `choose` returns.

    Args:
        path: the file.
        choose: is told the columns that there are; of JSON lines, those of the first hundred.
        late: columns that are read as well where a file of JSON lines has them further down; None
            keeps all columns that a line has.

    Raises:
        ValueError: the file is damaged as a whole, or of another kind; or what `choose` raises.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path, choose)
    if suffix in _DELIMITERS:
        return _csv(path, choose, _DELIMITERS[suffix])
    return _jsonl(path, choose, late)


def is_table(path: Path) -> bool:
    """Whether `read` knows the kind of this file."""
    return path.name.lower().endswith(SUFFIXES)


def count(path: Path) -> int | None:
    """Number of rows where it is known without reading them all."""
    try:
        return parquet.read_metadata(path).num_rows if path.suffix.lower() == ".parquet" else None
    except (pyarrow.ArrowException, OSError):
        return None  # `read` says what is wrong


def column(option: str, name: str, there: Sequence[str], where: object) -> str:
    """The name itself, if there is such a column.

    Args:
        option: what the user calls the setting.
        name: the column wanted.
        there: the columns there are.
        where: the file or data set, for the message.

    Raises:
        ValueError: there is none, with the names of those there are.
    """
    if name in there:
        return name
    if not there:
        raise ValueError(f"{where} must have columns. Got none, as of an empty file, instead.")
    if len(there) == 1 and (parts := _SEPARATORS & set(there[0])):
        raise ValueError(
            f"columns of {where} must be separated by commas, or by tabs in a .tsv. "
            f"Got one column, {there[0]!r}, with {' and '.join(sorted(parts))} in it instead."
        )
    raise ValueError(
        f"{option} must be a column of {where}. Got {name!r} instead; "
        f"there are: {', '.join(there)}.{hint(name, there)}"
    )


def decoded(raw: bytes) -> str:
    """UTF-8, a byte order mark removed.

    Raises:
        ValueError: it is not UTF-8; the message is a reason for a bad row.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = raw[error.start]
        raise ValueError(f"not UTF-8 (byte 0x{found:02x} at {error.start})") from None


def _parquet(path: Path, choose: Choose) -> Iterator[Row | Bad]:
    try:
        with parquet.ParquetFile(path, buffer_size=_PARQUET_BUFFER, pre_buffer=False) as file:
            wanted = list(choose(file.schema_arrow.names))
            start = 0
            for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
                yield from _batch_rows(path, batch, start)
                start += len(batch)
    except (pyarrow.ArrowException, OSError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{path} must be a whole parquet file. Got {told} instead.") from error


def _batch_rows(path: Path, batch: pyarrow.RecordBatch, start: int) -> Iterator[Row | Bad]:
    try:
        for i, values in enumerate(batch.to_pylist()):
            yield f"row {start + i}", values
        return
    except UnicodeDecodeError:
        pass
    for i in range(len(batch)):  # one of them is not UTF-8
        try:
            yield f"row {start + i}", batch.slice(i, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield Bad(str(path), f"row {start + i}", f"not UTF-8 (byte {error.start})")


def _jsonl(path: Path, choose: Choose, late: Sequence[str] | None) -> Iterator[Row | Bad]:
    try:
        with _opened(path) as lines:
            objects = _objects(path, lines)
            head = list(islice(objects, _PROBE))
            there = list(dict.fromkeys(k for o in head if not isinstance(o, Bad) for k in o[1]))
            wanted: Sequence[str] | None = None
            for item in chain(head, objects):
                if isinstance(item, Bad):
                    yield item
                    continue
                if wanted is None:
                    chosen = choose(there or list(item[1]))
                    wanted = list(dict.fromkeys([*chosen, *(late or ())]))
                own = wanted if late is not None else dict.fromkeys([*wanted, *item[1]])
                yield item[0], {name: item[1].get(name) for name in own}
    except _DAMAGE.get(path.suffix.lower(), ()) as error:
        raise ValueError(
            f"{path} must be a whole {path.suffix[1:]} file. Got {error} instead."
        ) from error


def _opened(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".zst":
        return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    return gzip.open(path) if suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _objects(path: Path, lines: IO[bytes]) -> Iterator[Row | Bad]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            found = json.loads(decoded(line).rstrip())
        except json.JSONDecodeError as error:
            told = error.msg.removesuffix(" at")
            yield Bad(str(path), where, f"broken JSON ({told} at character {error.pos})")
            continue
        except (ValueError, RecursionError) as error:
            yield Bad(str(path), where, str(error))
            continue
        if isinstance(found, dict):
            yield where, found
        else:
            yield Bad(str(path), where, f"a JSON {type(found).__name__} and no object")


def _records(reader: "csv.DictReader[str]", path: Path) -> Iterator[dict[Any, Any] | Bad]:
    """Rows; one with text behind a closing quote is a bad one."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "expected after" not in str(error):
                raise
            yield Bad(str(path), f"after line {reader.line_num}", str(error))


def _quoting(path: Path) -> Literal[0, 3]:
    """How cells are quoted: not at all where quotes break the rules, as in many files with tabs."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        try:
            for _ in csv.reader(file, delimiter="\t", strict=True):
                pass
        except csv.Error:
            return csv.QUOTE_NONE
    return csv.QUOTE_MINIMAL


def _wanted(choose: Choose, there: list[str], path: Path) -> Sequence[str]:
    """The chosen columns; of names that are no text it is said that they are not."""
    try:
        return choose(there)
    except ValueError:
        if any(map(_SURROGATE.search, there)):
            got = "a first line in another encoding"
            raise ValueError(f"{path} must be UTF-8 text. Got {got} instead.") from None
        raise


def _csv(path: Path, choose: Choose, delimiter: str) -> Iterator[Row | Bad]:
    csv.field_size_limit(_LONGEST_FIELD)
    # Bytes that are not UTF-8 come through as surrogates, so that they cost their row only.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        quoting: Literal[0, 3] = _quoting(path) if delimiter == "\t" else csv.QUOTE_MINIMAL
        # Strict: a quote that nothing closes would take the rest of the file into one cell.
        reader = csv.DictReader(file, delimiter=delimiter, quoting=quoting, strict=True)
        try:
            there = list(reader.fieldnames or ())
            wanted = _wanted(choose, there, path)
            if twice := [name for name in wanted if there.count(name) > 1]:
                got = f"{twice[0]!r} {there.count(twice[0])} times"
                raise ValueError(f"{path} must name each column once. Got {got} instead.")
            for values in _records(reader, path):
                if isinstance(values, Bad):
                    yield values
                    continue
                picked = {name: values[name] for name in wanted}
                if beyond := values.get(None):
                    told = f"{len(there) + len(beyond)} cells and not {len(there)}"
                    yield Bad(str(path), f"line {reader.line_num}", told)
                elif any(_SURROGATE.search(v or "") for v in picked.values()):
                    yield Bad(str(path), f"line {reader.line_num}", "not UTF-8")
                else:
                    yield f"line {reader.line_num}", picked
        except csv.Error as error:
            # Where the row began: its quote may have taken the rest of the file.
            where = f"{error} in the row after line {reader.line_num}"
            raise ValueError(f"{path} must be a CSV file. Got {where} instead.") from error
