"""MinHash signatures of texts, and a bounded index of the latest of them (Broder 1997).

The hashes, the number of bands and the verdicts are those of `datasketch`; its index holds 6.4 kB a
text in Python objects, this one 0.75 kB in arrays, and a signature costs a fifth of the time.

Shape letters: P permutations, B bands of R permutations each, G shingles, N texts, C candidates.
"""

import numpy as np
from datasketch import MinHashLSH

from tgp_multimodal.data.ngrams import ngrams, words

FEWEST = 50  # words below which a text has no signature: short texts share their form

_SHINGLE = 5  # words
_PERMUTATIONS = 128  # the standard error of the similarity is 0.035 at 0.8
_BATCH = 512  # shingles that are hashed at once, 256 kB: as much as a core keeps at hand
# Candidates are compared by all permutations, so it costs little to look at too many of them.
_WEIGHTS = (0.1, 0.9)  # of false candidates and of missed ones
_GOLDEN = 0x9E3779B97F4A7C15
_BUCKET_BITS = 19


def _permutations() -> tuple[np.ndarray, np.ndarray]:
    """An odd factor and a shift of each, (P, 1), uint32: hash -> factor * hash + shift mod 2^32."""
    random = np.random.RandomState(1)
    factor_P = random.randint(0, 2**31, _PERMUTATIONS, dtype=np.uint32) * np.uint32(2)
    shift_P = random.randint(0, 2**32, _PERMUTATIONS, dtype=np.uint32)
    return factor_P[:, None] + np.uint32(1), shift_P[:, None]


_FACTOR_P, _SHIFT_P = _permutations()


def signature(text: str) -> np.ndarray | None:
    """The smallest hash of the text's 5-grams of words under each permutation, (P,), uint32.

    None for a text of fewer than 50 words.
    """
    word_W = words(text)
    if len(word_W) < FEWEST:
        return None
    shingle_G = _mixed((ngrams(word_W, _SHINGLE) >> np.uint64(32)).astype(np.uint32))
    found_P = np.full(_PERMUTATIONS, 2**32 - 1, dtype=np.uint32)
    for start in range(0, len(shingle_G), _BATCH):
        hash_PG = shingle_G[start : start + _BATCH] * _FACTOR_P
        hash_PG += _SHIFT_P
        np.minimum(found_P, hash_PG.min(axis=1), out=found_P)
    return found_P


class Index:
    """The latest signatures, found again by bands of equal values.

    A bucket of a band is a chain from its latest entry to older ones. Entries are numbered from 1
    and lie in a ring, so that the number says whether an entry, and all that are older, are gone.

    Args:
        threshold: the similarity, from 0 to 1, that the bands are made for.
        room: how many signatures are held.
    """

    def __init__(self, threshold: float, room: int) -> None:
        lsh = MinHashLSH(threshold, _PERMUTATIONS, _WEIGHTS)
        self.threshold, self.room, self.count = threshold, room, 0
        self.shape = lsh.b, lsh.r
        self.band_B = np.arange(lsh.b)
        self.factor_R = np.array([(_GOLDEN << i) % 2**64 | 1 for i in range(lsh.r)], dtype="u8")
        # The system gives memory for the pages that are written to, so a small corpus takes little.
        self.signature_NP = np.zeros((room, _PERMUTATIONS), dtype=np.uint32)
        self.older_BN = np.zeros((lsh.b, room), dtype=np.int64)
        self.latest_BK = np.zeros((lsh.b, 1 << _BUCKET_BITS), dtype=np.int64)

    def __len__(self) -> int:
        return min(self.count, self.room)

    def holds(self, signature_P: np.ndarray) -> bool:
        """Whether one that is held shares a band and has at least the similarity."""
        slots, band_B = [], self.band_B
        number_B = self.latest_BK[band_B, self._bucket(signature_P)]
        gone = max(0, self.count - self.room)
        while (is_held := number_B > gone).any():
            band_B, number_B = band_B[is_held], number_B[is_held]
            slots.append((number_B - 1) % self.room)
            number_B = self.older_BN[band_B, slots[-1]]
        if not slots:
            return False
        equal_CP = self.signature_NP[np.unique(np.concatenate(slots))] == signature_P
        bands, rows = self.shape
        band_CB = equal_CP[:, : bands * rows].reshape(len(equal_CP), bands, rows).all(axis=2)
        is_near = np.count_nonzero(equal_CP, axis=1) >= self.threshold * _PERMUTATIONS
        return bool((is_near & band_CB.any(axis=1)).any())

    def add(self, signature_P: np.ndarray) -> None:
        """Takes one in; the oldest one goes if there is no room."""
        bucket_B, slot = self._bucket(signature_P), self.count % self.room
        self.count += 1
        self.signature_NP[slot] = signature_P
        self.older_BN[:, slot] = self.latest_BK[self.band_B, bucket_B]
        self.latest_BK[self.band_B, bucket_B] = self.count

    def _bucket(self, signature_P: np.ndarray) -> np.ndarray:
        bands, rows = self.shape
        value_BR = signature_P[: bands * rows].reshape(bands, rows).astype(np.uint64)
        hash_B = (value_BR * self.factor_R).sum(axis=1) * np.uint64(_GOLDEN)
        return hash_B >> np.uint64(64 - _BUCKET_BITS)


def _mixed(hash_G: np.ndarray) -> np.ndarray:
    """The 32-bit finalizer of MurmurHash3, in place; datasketch puts it before a permutation."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hash_G ^= hash_G >> np.uint32(shift)
        hash_G *= np.uint32(factor)
    hash_G ^= hash_G >> np.uint32(16)
    return hash_G
