"""Rows of CSV files, whose column types are inferred, and of Parquet files.

A column that is text in one file of a card is text in all: a label `1` in a file of numbers is then
the same label as in a file that also has the label `unknown`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

_LINES = csv.ParseOptions(newlines_in_values=True)


def csv_rows(path: Path, others: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Rows of a file.

    Args:
        path: a CSV file.
        others: the files that its columns agree with in their types.
    """
    files = [path, *(other for other in others if other.suffix == ".csv" and other != path)]
    found: dict[str, set[pa.DataType]] = {}
    for facts, file in ((file.stat(), file) for file in files):
        for name, kind in _types(file, facts.st_mtime_ns, facts.st_size).items():
            found.setdefault(name, set()).add(kind)
    kinds = {name: _common(several - {pa.null()}) for name, several in found.items()}
    options = csv.ConvertOptions(column_types={n: k for n, k in kinds.items() if k is not None})
    with _named(path, "a CSV file"):
        table = csv.read_csv(path, parse_options=_LINES, convert_options=options)
    return list(table.to_pylist())


def parquet_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a Parquet file.

    Raises:
        ValueError: it cannot be read.
    """
    with _named(path, "a Parquet file"):
        return list(parquet.read_table(path).to_pylist())


@contextmanager
def _named(path: Path, kind: str) -> Iterator[None]:
    """Turns what the library says of a broken file into a sentence with its name."""
    try:
        yield
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ValueError(f"{path} must be {kind}. Got an error instead: {line}") from None


def _common(kinds: set[pa.DataType]) -> pa.DataType | None:
    """The type of a column that has these in several files; None where the reader may choose."""
    if len(kinds) < 2:
        return next(iter(kinds), None)
    are_numbers = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds)
    return pa.float64() if are_numbers else pa.string()


@lru_cache(maxsize=256)
def _types(path: Path, changed: int, size: int) -> dict[str, pa.DataType]:
    if not size:
        raise ValueError(f"{path} must have a line with the names of columns. Got nothing instead.")
    with _named(path, "a CSV file"):
        schema = csv.read_csv(path, parse_options=_LINES).schema
    return dict(zip(schema.names, schema.types, strict=True))
