"""Where verbs print their tables."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

from rich.console import Console

_SLOW = 20.0  # seconds of one card without a word, where there is no terminal
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


class CardProgress:
    """One line for each card that is done or skipped, and what is going on.

    That is shown at once on a terminal, and elsewhere, in a line of its own, when it takes long.

    Args:
        console: where to.
        model: its name.
        cards: how many there are.
    """

    def __init__(self, console: Any, model: str, cards: int) -> None:
        self.console, self.model, self.cards, self.count = console, model, cards, 0
        self.status = console.status(f"{model}: starting")
        self._slow: Timer | None = None

    def __enter__(self) -> "CardProgress":
        if self.console.is_terminal:
            self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()
        self.status.stop()

    def __call__(self, what: str, card: str, sentence: str) -> None:
        self._forget()
        if what in ("data", "asking"):
            now = f"{self.model} [{self.count + 1}/{self.cards}] {card}: {sentence}"
            self.status.update(now)
            if not self.console.is_terminal:
                self._slow = Timer(_SLOW, self._print, (f"{now} ...",))
                self._slow.daemon = True
                self._slow.start()
            return
        self.count += 1
        word = f"  {what}" if what in ("skipped", "failed") else ""
        self._print(f"{self.model} [{self.count}/{self.cards}] {card}{word}: {sentence}")

    def _forget(self) -> None:
        if self._slow is not None:
            self._slow.cancel()

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
