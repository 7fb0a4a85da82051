"""Numbers that show what a stream of text is like, in any language, before anything is trained.

None of them needs a dictionary or a list of stop words: a stream of broken files is seen by its
replacement characters, one of menus and tables by its repeated lines, one of markup or numbers by
its characters that are no letters, another script by its bytes per token.
"""

import sys
import unicodedata
from collections import Counter
from functools import cache
from typing import Any, Literal

import numpy as np

from tgp_multimodal.data.records import Document

_PIECE = 1 << 20  # characters that are looked up at once
_OTHER, _LETTER, _SPACE, _REPLACEMENT = range(4)


class Quality:
    """Counts documents as they pass, by stream."""

    def __init__(self) -> None:
        self.streams: dict[str, Counter[str]] = {}

    def add(self, document: Document) -> None:
        """Counts a document that is kept."""
        text, count = document.text, self._of(document.stream)
        kinds = character_kinds(text)
        lines = [line for line in map(str.strip, text.splitlines()) if line]
        count["documents"] += 1
        count["bytes"] += len(text.encode())
        count["characters"] += len(text)
        count["lines"] += len(lines)
        count["repeated"] += len(lines) - len(set(lines))
        count["seen"] += len(text) - int(kinds[_SPACE])
        count["other"] += int(kinds[_OTHER] + kinds[_REPLACEMENT])
        count["replacement"] += int(kinds[_REPLACEMENT])

    def drop(self, stream: str, kind: Literal["exact", "near"]) -> None:
        """Counts a document that is left out because it is a copy."""
        self._of(stream)[kind] += 1

    def numbers(self, lengths: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
        """What the manifest says of each stream.

        Args:
            lengths: tokens of each document, by stream.

        Returns:
            By stream: sizes (documents, bytes, characters, tokens, bytes_per_token), tokens of a
            document (mean_length, median_length, longest), shares from 0 to 1 and what was left
            out (exact_duplicates, near_duplicates). `repeated_lines` is the share of lines that
            stood in the same document before, `non_alphanumeric` that of characters but white
            space that are neither letters, marks nor digits, `replacement_characters` that of
            U+FFFD, which decoders put in the place of bytes they could not read.
        """
        nothing = np.empty(0, dtype=np.int64)
        return {
            stream: _numbers(count, lengths.get(stream, nothing))
            for stream, count in self.streams.items()
        }

    def _of(self, stream: str) -> Counter[str]:
        return self.streams.setdefault(stream, Counter())


def character_kinds(text: str) -> np.ndarray:
    """How many characters are other, letters (with marks and digits), spaces, replacements; (4,).

    Letters are what Unicode calls L, M and N: `str.isalnum` would call the vowel signs of Hindi
    something else.
    """
    found = np.zeros(4, dtype=np.int64)
    for start in range(0, len(text), _PIECE):
        code_C = np.frombuffer(text[start : start + _PIECE].encode("utf-32-le"), dtype="<u4")
        found += np.bincount(_kinds()[code_C], minlength=4)
    return found


@cache
def _kinds() -> np.ndarray:
    """The kind of every character there is, (1114112,), uint8."""
    kinds = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if character.isspace():
            kinds[code] = _SPACE
        elif unicodedata.category(character)[0] in "LMN":
            kinds[code] = _LETTER
    kinds[0xFFFD] = _REPLACEMENT
    return kinds


def _numbers(count: Counter[str], length_D: np.ndarray) -> dict[str, Any]:
    tokens, some = int(length_D.sum()), length_D if len(length_D) else np.zeros(1, dtype=np.int64)
    return {
        "documents": count["documents"],
        "bytes": count["bytes"],
        "characters": count["characters"],
        "tokens": tokens,
        "bytes_per_token": _ratio(count["bytes"], tokens),
        "mean_length": _ratio(tokens, len(length_D)),
        "median_length": float(np.median(some)),
        "longest": int(some.max()),
        "repeated_lines": _ratio(count["repeated"], count["lines"]),
        "non_alphanumeric": _ratio(count["other"], count["seen"]),
        "replacement_characters": _ratio(count["replacement"], count["seen"]),
        "exact_duplicates": count["exact"],
        "near_duplicates": count["near"],
    }


def _ratio(part: int, whole: int) -> float:
    return round(part / max(1, whole), 6)
