"""Files of one array: written row by row, opened as memory maps."""

import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np


class ArrayFile:
    """A `.npy` file that grows by rows; its header gets the number of rows at the end.

    Args:
        path: the file.
        dtype: of its numbers.
        row: shape of a row.
        keep: leave the rows of an earlier run there, for `skip`.
    """

    def __init__(
        self, path: Path, dtype: type, row: tuple[int, ...] = (), keep: bool = False
    ) -> None:
        self.path, self.dtype, self.row, self.rows = path, np.dtype(dtype), row, 0
        self.file: IO[bytes] = path.open("r+b" if keep and path.is_file() else "wb")
        self._header()
        self.start = self.file.tell()

    def append(self, rows: np.ndarray) -> None:
        """Adds rows, (n, *row)."""
        self.file.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
        self.rows += len(rows)

    def skip(self, rows: int) -> None:
        """Goes over rows that are there from an earlier run."""
        self.rows += rows
        self.file.seek(rows * self.dtype.itemsize * math.prod(self.row), os.SEEK_CUR)

    def sync(self) -> None:
        """Returns when all rows are on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Writes the number of rows; rows of an earlier run that come after them are cut off."""
        self.file.truncate(self.file.tell())
        self.file.seek(0)
        self._header()
        # NumPy leaves room in the header for a first axis that grows.
        assert self.file.tell() == self.start
        self.file.close()

    def _header(self) -> None:
        facts = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, *self.row)}
        np.lib.format.write_array_header_1_0(self.file, facts)


def open_array(path: Path, rows: int, mode: Any = None) -> np.ndarray:
    """An array of a prepared folder, memory-mapped if there is a mode.

    Raises:
        ValueError: it has not as many rows as the manifest says.
    """
    wanted = f"{path} must hold {rows:,} rows, as its manifest says"
    try:
        found = np.load(path, mmap_mode=mode, allow_pickle=False)
    except (ValueError, FileNotFoundError, EOFError) as error:
        raise ValueError(f"{wanted}. Got a file that is not whole ({error}) instead.") from None
    if len(found) != rows:
        raise ValueError(f"{wanted}. Got {len(found):,} instead.")
    return found
