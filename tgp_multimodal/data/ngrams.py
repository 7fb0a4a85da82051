"""Texts to 64-bit hashes of their runs of words, the same on every machine and in every run.

Shape letters: W words of a text, G n-grams of a text.

A word is a run of letters, digits and underscores, in lower case; a character of a script that
puts no spaces between words is a word of its own. Python's own `hash` is salted anew in each
process, so words are hashed by BLAKE2b and n-grams by a polynomial of the hashes of their words.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator

import numpy as np

_NO_SPACES = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # Thai, Lao, kana, Chinese
# The end of a word is cut off as one of its own where it is too long to be remembered.
_WORD = re.compile(f"[{_NO_SPACES}]|[^\\W{_NO_SPACES}]{{1,64}}")
_SPACE = re.compile(r"\s")
_PIECE = 1 << 20  # characters that are cut into words at once
_REMEMBERED = 1 << 18  # words whose hash is not computed again, and those of one piece more
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of a word is lost


def words(text: str) -> np.ndarray:
    """A hash of each word of a text, (W,), uint64.

    Letters are composed (NFC) first, so that it does not matter how an accent was typed.
    """
    found = [_piece_words(unicodedata.normalize("NFC", p).lower()) for p in _pieces(text)]
    return np.concatenate(found) if found else np.empty(0, dtype=np.uint64)


def ngrams(word_W: np.ndarray, n: int) -> np.ndarray:
    """A hash of every n words in a row, (G,), uint64, G = W - n + 1.

    A text of fewer than n words is one gram, hashed with its length; one without words has none.
    """
    length = min(n, len(word_W))
    if length == 0:
        return np.empty(0, dtype=np.uint64)
    count = len(word_W) - length + 1
    gram_G = np.full(count, length, dtype=np.uint64)
    for start in range(length):
        gram_G *= _FACTOR
        gram_G += word_W[start : start + count]
    return _mixed(gram_G)


def _piece_words(piece: str) -> np.ndarray:
    found = _WORD.findall(piece)
    if len(_hashes) > _REMEMBERED:
        _hashes.clear()
    return np.fromiter(map(_hashes.__getitem__, found), dtype=np.uint64, count=len(found))


def _pieces(text: str) -> Iterator[str]:
    """Cuts a long text between words."""
    start = 0
    while start < len(text):
        gap = _SPACE.search(text, start + _PIECE)
        end = gap.start() if gap else len(text)
        yield text[start:end]
        start = end


class _Hashes(dict[str, int]):
    """Words to their hashes, which are computed when they are asked for."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        self[word] = found = int.from_bytes(digest, "little")
        return found


_hashes = _Hashes()


def _mixed(hash_G: np.ndarray) -> np.ndarray:
    """The finalizer of MurmurHash3, in place: every bit of the input moves every one of the output.

    It is a bijection, so it makes no collisions.
    """
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hash_G ^= hash_G >> np.uint64(33)
        hash_G *= np.uint64(factor)
    hash_G ^= hash_G >> np.uint64(33)
    return hash_G
