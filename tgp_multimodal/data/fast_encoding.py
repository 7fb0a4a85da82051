"""Encodes texts faster than the backend: a repeated word, or line, is encoded only once.

The backend splits a text and encodes each word anew. For `FastEncoder`, three times as fast on one
core, Python's own `re` splits it, and the ids of a word come from a cache that the backend fills.
That is exact for lines of characters whose class (letter, digit, space, other) is settled in
Unicode; other lines go to the backend whole. A text may be cut between a line break and a character
that is not white space: no piece of `SPLIT` crosses that boundary, and neither does the composition
of characters (NFC). `encode_shared_lines` cuts there alone.
"""

import os
import re
import unicodedata
from collections.abc import Sequence
from itertools import chain

import numpy as np

from tgp_multimodal.data.tokenizer import Tokenizer

_REMEMBERED = 1 << 18  # words
_LONGEST = 256  # characters of a word that is remembered
_MANY_CORES = 6  # from which on the backend, which uses them all, is the faster one
# Blocks that are settled since Unicode 5: ASCII, Latin, Greek, Cyrillic, marks of punctuation.
_BLOCKS = ((0x20, 0x7F), (0xA1, 0x17F), (0x400, 0x482), (0x48A, 0x500), (0x2010, 0x2028), (0x20AC,))


def _class(*wanted: str) -> str:
    """The known characters whose category starts so, as the inside of a class of `re`."""
    codes = chain.from_iterable(range(b[0], b[-1] if len(b) > 1 else b[0] + 1) for b in _BLOCKS)
    found = [chr(c) for c in codes if unicodedata.category(chr(c)).startswith(wanted)]
    return "".join(map(re.escape, found))


_L, _N, _OTHER = _class("L"), _class("N"), _class("P", "S")
_PLAIN = re.compile(f"[\\t\\n\\r {_L}{_N}{_OTHER}]*")
_LINE_START = re.compile(r"(?<=\n)(?=\S)")
# `tokenizer.SPLIT` with the classes written out.
_WORD = re.compile(
    r"'(?:[sdmtSDMT]|[rR][eE]|[vV][eE]|[lL][lL])"
    f"|[\\t {_OTHER}]?[{_L}]+|[{_N}]| ?[{_OTHER}]+[\\r\\n]*"
    r"|[\t\n\r ]*[\r\n]+|[\t ]+(?![^\t\n\r ])|[\t ]+"
)


class FastEncoder:
    """Encodes many texts with one tokenizer; its answers are those of `Tokenizer.encode_batch`.

    Args:
        tokenizer: one that cuts text in another way than ours is used as it is.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.ids = tokenizer, dict[str, tuple[int, ...]]()
        self.is_used = tokenizer.is_cut_as_ours and (os.cpu_count() or 1) < _MANY_CORES

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, int64.

        Raises:
            ValueError: a text is no Unicode, for it holds half of a surrogate pair.
        """
        if not self.is_used:
            return [np.array(ids) for ids in self.tokenizer.encode_batch(texts)]
        if len(self.ids) > _REMEMBERED:
            self.ids.clear()
        words_T = [self._words(text) for text in texts]
        every = set(chain.from_iterable(words_T))
        new = [word for word in every if word not in self.ids]
        long = dict[str, tuple[int, ...]]()
        for word, ids in zip(new, self.tokenizer.encode_batch(new), strict=True):
            (self.ids if len(word) <= _LONGEST else long)[word] = tuple(ids)
        known = self.ids | long if long else self.ids
        return [
            np.fromiter(chain.from_iterable(map(known.__getitem__, words)), dtype=np.int64)
            for words in words_T
        ]

    def _words(self, text: str) -> list[str]:
        """Pieces that are encoded each for itself: words, and lines that the backend cuts."""
        if _PLAIN.fullmatch(text):
            return _WORD.findall(text)
        words: list[str] = []
        for some in _LINE_START.split(text):
            if _PLAIN.fullmatch(some):
                words += _WORD.findall(some)
            else:
                words.append(some)
        return words


def encode_shared_lines(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """`Tokenizer.encode_batch` of texts that have lines in common, each of which is encoded once.

    Raises:
        ValueError: a text is no Unicode, for it holds half of a surrogate pair.
    """
    if not tokenizer.is_cut_as_ours:
        return tokenizer.encode_batch(texts)
    lines_T = [_LINE_START.split(text) for text in texts]
    distinct = list(dict.fromkeys(chain.from_iterable(lines_T)))
    ids = dict(zip(distinct, tokenizer.encode_batch(distinct), strict=True))
    return [[*chain.from_iterable(map(ids.__getitem__, lines))] for lines in lines_T]
