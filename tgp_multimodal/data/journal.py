"""Numbers that a run writes as it goes, and finds again after it was killed.

The run after a kill does the same work in the same order: what the journal knows need not be done
again, only counted. So no state is saved, and none can be wrong.
"""

from pathlib import Path

import numpy as np


class Journal:
    """A file of int64 without a header: the old numbers are taken first, then new ones are added.

    Args:
        path: the file; what lies there is from an earlier run of the same work.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self.path, self.file, self.is_at_end = path, path.open("r+b"), False

    def take(self, count: int) -> np.ndarray | None:
        """The next `count` numbers, (count,), int64; None if not all of them are there.

        Then what is left of them is cut off, and from there on numbers are added.
        """
        if self.is_at_end:
            return None
        start = self.file.tell()
        raw = self.file.read(8 * count)
        if len(raw) == 8 * count:
            return np.frombuffer(raw, dtype=np.int64)
        self.file.seek(start)
        self.file.truncate()
        self.is_at_end = True
        return None

    def add(self, numbers: np.ndarray) -> None:
        """Appends numbers, so that a kill from here on loses none of them."""
        assert self.is_at_end
        self.file.write(np.ascontiguousarray(numbers, dtype=np.int64).data)
        self.file.flush()

    def close(self) -> None:
        """Closes the file, without numbers of an earlier run that nobody took; may be repeated."""
        if not self.file.closed:
            self.file.truncate(self.file.tell())
            self.file.close()
