"""Which texts are copies of earlier ones: exact copies by a digest, near ones by MinHash.

Near copies (the same article with another header, a licence text with another year) make a network
recite (Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better"), and since
the split of a document is a hash of its text, they put what was trained on into validation.
"""

import hashlib
from collections import deque

from datasketch import MinHash, MinHashLSH

from tgp_multimodal.data.ngrams import ngrams, words

NEAR = 0.8  # similarity from which a text is a near copy; Lee et al. take 0.8 and 5-grams too
FEWEST = 50  # words below which a text is never a near copy: short texts share their form

_SHINGLE = 5  # words
_PERMUTATIONS = 128  # the standard error of the similarity is 0.035 at 0.8
_BATCH = 512  # shingles that are hashed at once, 256 kB: as much as a core keeps at hand
_REMEMBERED = 200_000  # texts, 6.4 kB each at a threshold of 0.8, however long they are
# Candidates are compared by all permutations, so it costs little to look at too many of them.
_WEIGHTS = (0.1, 0.9)  # of false candidates and of missed ones
_RANGE = (0.5, 0.95)


class Seen:
    """Remembers eight bytes of each key, so that a hundred million keys fit into memory."""

    def __init__(self, never: bool) -> None:
        self.never, self.keys = never, set[bytes]()

    def before(self, key: bytes) -> bool:
        """Whether the key was asked for before."""
        if self.never:
            return False
        short = hashlib.sha256(key).digest()[:8]
        known = short in self.keys
        self.keys.add(short)
        return known


class NearDuplicates:
    """Judges texts in the order in which they come; the first of several near copies is none.

    Each text is judged once: in a second pass over the same texts all answers are the same and
    cost nothing. Only the last 200,000 texts that were no copies are compared with, which takes at
    most 1.3 GB at a threshold of 0.8 and more below it; of older ones the answer is kept.

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
        self.threshold = threshold
        self.index = MinHashLSH(threshold, _PERMUTATIONS, _WEIGHTS)
        self.empty = MinHash(_PERMUTATIONS, hashfunc=int)
        self.signatures: dict[bytes, MinHash] = {}
        self.order: deque[bytes] = deque()
        self.verdicts: dict[bytes, bool] = {}

    def before(self, digest: bytes, text: str) -> bool:
        """Whether a text, with its digest, is nearly one that was judged before."""
        key = digest[:8]
        if key not in self.verdicts:
            self.verdicts[key] = self._judge(key, text)
        return self.verdicts[key]

    def _judge(self, key: bytes, text: str) -> bool:
        word_W = words(text)
        if len(word_W) < FEWEST:
            return False
        signature = self.empty.copy()
        shingles = ngrams(word_W, _SHINGLE) >> 32  # the scheme of the permutations has 32 bits
        for start in range(0, len(shingles), _BATCH):
            signature.update_batch(shingles[start : start + _BATCH].tolist())
        candidates = (self.signatures[other] for other in self.index.query(signature))
        if any(signature.jaccard(other) >= self.threshold for other in candidates):
            return True
        self._remember(key, signature)
        return False

    def _remember(self, key: bytes, signature: MinHash) -> None:
        self.index.insert(key, signature)
        self.signatures[key] = signature
        self.order.append(key)
        if len(self.order) > _REMEMBERED:
            oldest = self.order.popleft()
            self.index.remove(oldest)
            del self.signatures[oldest]
