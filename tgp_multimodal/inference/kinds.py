"""Type checks of a user's arguments; each refusal is one sentence.

Numbers of NumPy are numbers; True and False are none, and 2.0 is no whole number.
"""

import os
import reprlib
from pathlib import Path
from typing import Any

import numpy as np


def refusal(name: str, constraint: str, value: object) -> ValueError:
    """What to raise where an argument is not what it must be; a long value is abbreviated."""
    return ValueError(f"{name} must be {constraint}. Got {reprlib.repr(value)} instead.")


def is_whole(value: object) -> bool:
    """True for a whole number."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def whole(name: str, value: Any) -> int:
    """A whole number.

    Raises:
        ValueError: it is none.
    """
    if not is_whole(value):
        raise refusal(name, "a whole number", value)
    return int(value)


def wholes(name: str, value: Any) -> list[int]:
    """Several whole numbers, of an argument that may also be one of them.

    Raises:
        ValueError: they are none.
    """
    found = _listed(value)
    if found is None or not all(map(is_whole, found)):
        raise refusal(name, "a whole number or a list of whole numbers", value)
    return [int(one) for one in found]


def number(name: str, value: Any) -> None:
    """Refuses what is no number.

    Raises:
        ValueError: it is none.
    """
    if not is_whole(value) and not isinstance(value, float | np.floating):
        raise refusal(name, "a number", value)


def text(name: str, value: Any) -> str:
    """A text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str):
        raise refusal(name, "a text", value)
    return value


def texts(name: str, value: Any) -> list[str]:
    """Several texts; one text is not taken for a list of letters.

    Raises:
        ValueError: they are none.
    """
    found = _listed(value)
    if found is None or not all(isinstance(one, str) for one in found):
        the_text = "the text " if isinstance(value, str) else ""
        raise ValueError(
            f"{name} must be a list of texts. Got {the_text}{reprlib.repr(value)} instead."
        )
    return found


def text_or_texts(name: str, value: Any) -> list[str]:
    """Several texts; a single one may stand alone.

    Raises:
        ValueError: they are none.
    """
    found = [value] if isinstance(value, str) else _listed(value)
    if found is None or not all(isinstance(one, str) for one in found):
        raise refusal(name, "a text or a list of texts", value)
    return found


def path(name: str, value: Any) -> Path:
    """A path, given as text or as `Path`.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str | os.PathLike):
        raise refusal(name, "a path, as text or Path", value)
    return Path(value)


def _listed(value: Any) -> list[Any] | None:
    """What is in a list, or in anything like it; None for what is nothing like it."""
    try:
        return None if isinstance(value, str | bytes | dict) else list(value)
    except TypeError:
        return None
