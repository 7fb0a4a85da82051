"""Captions as they are stored and read: one spelling for learning and for drawing."""

import html
from collections.abc import Iterable

import ftfy


def clean(caption: str) -> str:
    """A caption as the stock pipeline cleans prompts: mojibake mended, entities read, stripped.

    Curly quotes become straight ones, so that a prompt typed on a keyboard finds the same tokens.
    """
    return html.unescape(html.unescape(ftfy.fix_text(caption))).strip()


def cleaned(captions: Iterable[str]) -> tuple[str, ...]:
    """Captions of one picture, cleaned, each once.

    Raises:
        ValueError: nothing is left of any; the message is a reason for a bad row.
    """
    found = tuple(dict.fromkeys(c for c in map(clean, captions) if c))
    if not found:
        raise ValueError("empty text")
    return found
