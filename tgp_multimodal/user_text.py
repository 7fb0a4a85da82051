"""Text that a user brings in a file or through a pipe, which must be UTF-8."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path


def decoded(raw: bytes, name: str) -> str:
    """The text of some bytes, ends of lines as they are.

    Args:
        raw: the bytes.
        name: what the user calls them, for the message.

    Raises:
        ValueError: they are not UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at {error.start}"
        raise ValueError(f"{name} must be UTF-8 text. Got {found} instead.") from None


def read_file(path: str) -> str:
    """The text of a file, ends of lines as they are.

    Raises:
        ValueError: it is not UTF-8.
    """
    return decoded(Path(path).read_bytes(), path)


def read_input() -> str:
    """All of standard input.

    Raises:
        ValueError: it is not UTF-8.
    """
    return "".join(input_lines())


def input_lines() -> Iterator[str]:
    """The lines of standard input, as they come.

    Raises:
        ValueError: one is not UTF-8.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Without a locale Python takes any byte, and in others it reads another encoding.
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    try:
        yield from sys.stdin
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}"
        raise ValueError(f"standard input must be UTF-8 text. Got {found} instead.") from None
