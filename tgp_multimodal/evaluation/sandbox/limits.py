"""What one program may use."""

import struct
from typing import NamedTuple

# How limits travel to the server; descriptors go with them: program, tests, verdict.
ORDER = struct.Struct("!II")


class Limits(NamedTuple):
    """What one program may use.

    Attributes:
        seconds: of processor time.
        megabytes: of address space.
    """

    seconds: int
    megabytes: int

    @property
    def wall(self) -> float:
        """Seconds of wall time; many, for a machine is shared and a program may have to wait."""
        return 4.0 * self.seconds


USUAL = Limits(3, 1024)
