"""Bad rows are counted, the first few named, all written down, and never silently dropped.

Readers yield `Bad` in the place of a row that they could not read, so that they need neither state
nor exceptions; `Quarantine.keep` takes those out of the stream and stops where there are too many.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, TypeVar

T = TypeVar("T")

ALLOWED = 0.01  # share of bad rows that stops nobody

_NAMED = 3  # bad rows that messages quote
_EARLY = 1000  # rows read before the share is reliable enough to stop a run early


class Bad(NamedTuple):
    """A row that cannot be used.

    Attributes:
        source: the file it is from.
        row: which one, for example "line 5".
        reason: what is wrong with it.
        is_empty: it is a file without text, as packages of code have them: listed, but no damage
            that would stop the work.
    """

    source: str
    row: str
    reason: str
    is_empty: bool = False


@dataclass
class Tally:
    """Counts of one source.

    Attributes:
        name: the source's, for messages.
        what: one good row in a word, for example "document".
        rows: good and bad together.
        bad: the bad ones.
        empty: those of them that are empty files.
        first: the first few of the bad ones.
    """

    name: str
    what: str = "row"
    rows: int = 0
    bad: int = 0
    empty: int = 0
    first: list[Bad] = field(default_factory=list)

    def named(self) -> str:
        """The first few bad rows in one line."""
        quoted = "; ".join(f"{b.source} {b.row}: {b.reason}" for b in self.first)
        return quoted + ("; ..." if self.bad > len(self.first) else "")


class Quarantine:
    """The file of bad rows, one JSON object a line; there is none where no row is bad.

    Use it as a context manager.

    Args:
        path: where to write; what lies there from before is removed.
        allow_bad: largest share of bad rows of each source.

    Raises:
        ValueError: `allow_bad` is no share.
    """

    def __init__(self, path: Path, allow_bad: float = ALLOWED) -> None:
        if not 0 <= allow_bad <= 1:
            raise ValueError(f"allow_bad must be from 0 to 1. Got {allow_bad} instead.")
        path.unlink(missing_ok=True)
        self.path, self.allow_bad = path, allow_bad
        self.files = ExitStack()
        self.file: IO[str] | None = None

    def __enter__(self) -> "Quarantine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.files.close()

    def keep(self, tally: Tally, rows: Iterable[T | Bad]) -> Iterator[T]:
        """The good rows of one source, counted in `tally`.

        Raises:
            ValueError: too many rows are bad, or none is good.
        """
        for row in rows:
            tally.rows += 1
            if isinstance(row, Bad):
                self._write(tally, row)
                if tally.bad - tally.empty > self.allow_bad * max(tally.rows, _EARLY):
                    self._stop(tally)
            else:
                yield row
        if tally.rows == tally.bad:
            detail = f" ({tally.bad} bad: {tally.named()})" if tally.bad else ""
            wanted = f"{tally.name} must hold at least one {tally.what}"
            raise ValueError(f"{wanted}. Got none{detail} instead.")
        if tally.bad - tally.empty > self.allow_bad * tally.rows:
            self._stop(tally)

    def _write(self, tally: Tally, bad: Bad) -> None:
        tally.bad += 1
        tally.empty += bad.is_empty
        # What can stop the work is named before what cannot.
        tally.first = sorted([*tally.first, bad], key=lambda b: b.is_empty)[:_NAMED]
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.files.enter_context(self.path.open("w", encoding="utf-8"))
        said = {"source": bad.source, "row": bad.row, "reason": bad.reason}
        self.file.write(json.dumps(said) + "\n")

    def _stop(self, tally: Tally) -> None:
        named = tally.named()
        raise ValueError(
            f"bad rows must be at most {100 * self.allow_bad:g} % of {tally.name} (--allow_bad). "
            f"Got {tally.bad - tally.empty:,} of {tally.rows:,} read so far, listed in "
            f"{self.path}, instead; "
            f"{named if named.endswith('; ...') else named.rstrip('.') + '.'}"
        )
