"""What is a copy of something earlier: exact copies by a digest, near ones of texts by MinHash.

Near copies (the same article with another header, a licence text with another year) make a network
memorise (Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better"), and since
the split of a document is a hash of its text, they leak training text into validation.
"""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from tgp_multimodal.data.minhash import FEWEST, Index, signature

__all__ = ["FEWEST", "NEAR", "ExactDuplicates", "KeySet", "NearDuplicates", "PictureDuplicates"]

NEAR = 0.8  # similarity from which a text is a near copy; Lee et al. take 0.8 and 5-grams too

_REMEMBERED = 500_000  # texts, 0.75 kB each at a threshold of 0.8, however long they are
_RECENT = 1 << 18  # keys that are held as Python's own objects, 100 bytes each
_RANGE = (0.5, 0.95)
_MOST_CAPTIONS = 64  # of one picture; one that comes with more stands for no picture at all


class KeySet:
    """A set of numbers of 64 bits that takes 8 bytes for each, and 16 for a moment as it grows."""

    def __init__(self) -> None:
        self.recent: set[int] = set()
        self.runs: list[np.ndarray] = []  # sorted, each longer than the next

    def __contains__(self, key: int) -> bool:
        if key in self.recent:
            return True
        wanted = np.uint64(key)
        for run in self.runs:
            place = int(run.searchsorted(wanted))
            if place < len(run) and run[place] == wanted:
                return True
        return False

    def add(self, key: int) -> None:
        """Takes a key in that is not there yet."""
        self.recent.add(key)
        if len(self.recent) >= _RECENT:
            self.extend(np.fromiter(self.recent, dtype=np.uint64, count=len(self.recent)))
            self.recent.clear()

    def extend(self, keys: np.ndarray) -> None:
        """Takes many keys in, uint64."""
        run = np.sort(keys)
        while self.runs and len(self.runs[-1]) <= len(run):
            run = np.concatenate([self.runs.pop(), run])
            run.sort(kind="stable")
        self.runs.append(run)

    def array(self) -> np.ndarray:
        """All keys, uint64, in no order."""
        recent = np.fromiter(self.recent, dtype=np.uint64, count=len(self.recent))
        return np.concatenate([*self.runs, recent])


class ExactDuplicates:
    """Remembers eight bytes of each key, so that a hundred million keys take 0.8 GB."""

    def __init__(self, never: bool) -> None:
        self.never, self.keys = never, KeySet()

    def before(self, key: bytes) -> bool:
        """Whether the key was asked for before."""
        if self.never:
            return False
        short = int.from_bytes(hashlib.sha256(key).digest()[:8], "little")
        known = short in self.keys
        if not known:
            self.keys.add(short)
        return known


class NearDuplicates:
    """Judges texts in the order in which they come; the first of several near copies is none.

    Each text is judged once: in a second pass over the same texts all answers are the same and
    cost nothing. Only the last 500,000 texts that were no copies are compared with, which takes at
    most 0.4 GB at a threshold of 0.8 and more below it; of older ones the answer is kept.

    Args:
        threshold: the Jaccard similarity of the sets of 5-grams of words, estimated by MinHash
            (Broder 1997), from which a text is a near copy.

    Raises:
        ValueError: `threshold` is not from 0.5 to 0.95.
    """

    def __init__(self, threshold: float = NEAR) -> None:
        if not _RANGE[0] <= threshold <= _RANGE[1]:
            wanted = f"near_threshold must be from {_RANGE[0]} to {_RANGE[1]}"
            raise ValueError(f"{wanted}. Got {threshold} instead.")
        self.index = Index(threshold, _REMEMBERED)
        self.copies, self.others = KeySet(), KeySet()  # what was judged

    def before(self, digest: bytes, text: str) -> bool:
        """Whether a text, with its digest, is nearly one that was judged before."""
        key = int.from_bytes(digest[:8], "little")
        if key in self.copies:
            return True
        if key in self.others:
            return False
        found = signature(text)
        if found is not None and self.index.holds(found):
            self.copies.add(key)
            return True
        self.others.add(key)
        if found is not None:
            self.index.add(found)
        return False

    def save(self, path: Path) -> None:
        """Writes the answers, without what is needed to judge more texts."""
        np.savez(path, copies=self.copies.array(), others=self.others.array())

    def load(self, path: Path) -> None:
        """Takes over the answers that `save` wrote."""
        with np.load(path) as found:
            self.copies.extend(found["copies"])
            self.others.extend(found["others"])


class PictureDuplicates:
    """Knows the pictures that were there before, and gathers their captions.

    Many data sets have a row for each caption, so that a picture comes several times. Its pixels
    decide whether it is the same; no list of captions is final before the last picture.

    Args:
        keep_duplicates: take every picture for a new one.
    """

    def __init__(self, keep_duplicates: bool) -> None:
        self.keep_duplicates = keep_duplicates
        self.known: dict[int, tuple[str | None, list[str]]] = {}

    def before(
        self, digest: bytes, split: str | None, captions: list[str]
    ) -> Literal["duplicates", "elsewhere"] | None:
        """Whether a picture was there before, and what for.

        Args:
            digest: of its pixels.
            split: the one that it is meant for; None if a hash of it decides.
            captions: of it. If it is new, others are added to this very list later.

        Returns:
            None for a new picture; "duplicates" if it came before with the same split, to which
            its captions are added; "elsewhere" if it came with another split, so that neither it
            nor its captions may be used here.
        """
        if self.keep_duplicates:
            return None
        key = int.from_bytes(digest[:8], "little")
        if key not in self.known:
            self.known[key] = split, captions
            return None
        first, there = self.known[key]
        if first != split:
            return "elsewhere"
        new = [caption for caption in captions if caption not in there]
        there += new[: max(0, _MOST_CAPTIONS - len(there))]
        return "duplicates"
