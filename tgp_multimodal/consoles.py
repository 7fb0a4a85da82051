"""Where verbs print their tables."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

_PIPED = 1000  # characters: no table is that wide, and none is folded then


def console(**options: Any) -> Console:
    """A console that is as wide as the terminal, and in a pipe or a file as any table needs.

    rich takes 80 characters where there is no terminal, which breaks names in two. $COLUMNS, where
    it is set, has the last word.

    Args:
        options: see `rich.console.Console`.
    """
    made = Console(**options)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _PIPED
    return made


@contextmanager
def live_status(text: str) -> Iterator[Callable[[str], None]]:
    """One line on a terminal that is written anew while something runs; nothing elsewhere.

    Args:
        text: what it says first; the function that comes back changes it.
    """
    own = Console(stderr=True)
    if not own.is_terminal:
        yield lambda text: None
        return
    with own.status(text) as status:
        yield lambda text: status.update(text)
