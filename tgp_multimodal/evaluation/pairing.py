"""Two rows that make one item: a sentence and its counterpart that stand in different rows."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def paired(rows: Sequence[Row], same: Sequence[str], by: str, where: str) -> list[Row]:
    """Joins rows that agree in some columns and differ in another one.

    Args:
        rows: of one split.
        same: columns that the two rows of a pair share.
        by: the column that tells them apart.
        where: of the rows, for messages.

    Returns:
        One row a pair, in the order of first rows, with the shared columns and, under each value of
        `by`, the whole row that has it: `{"id": 1, "pro": {...}, "anti": {...}}`.

    Raises:
        ValueError: a column is missing, or rows do not come in pairs.
    """
    for name in (*same, by):
        if rows and name not in rows[0]:
            raise ValueError(
                f"{where}: pairs must name columns that exist: {', '.join(rows[0])}."
                f" Got {name!r} instead."
            )
    sides = sorted({str(row[by]) for row in rows})
    found: dict[tuple[Any, ...], Row] = defaultdict(dict)
    for row in rows:
        pair = found[tuple(row[name] for name in same)]
        if str(row[by]) in pair:
            raise ValueError(f"{where}: {_one_of_each(same, by, row)}. Got two instead.")
        pair |= {name: row[name] for name in same} | {str(row[by]): row}
    for pair in found.values():
        if missing := [side for side in sides if side not in pair]:
            raise ValueError(
                f"{where}: {_one_of_each(same, by, pair)}. Got none with {missing[0]} instead."
            )
    return list(found.values())


def _one_of_each(same: Sequence[str], by: str, row: Row) -> str:
    key = ", ".join(f"{name} {row[name]}" for name in same)
    return f"rows with {key} must be one for each {by}"
