"""BM25: the ranking by counted words that every search engine starts from.

Shape letters: N documents, V words.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

WORDS = r"[A-Za-z]+|\d"  # one-letter names are words too: code is among the texts
SATURATION, LENGTH = 1.2, 0.75  # k1 and b, with the values that Lucene takes


@cache
def any_words() -> str:
    """The pattern of words of every script: letters with the marks that belong to them, digits."""
    marks = "".join(
        character
        for character in map(chr, range(0x300, 0x10000))
        if unicodedata.category(character) in ("Mn", "Mc")
    )
    return rf"(?:[^\W\d_][{re.escape(marks)}]*)+|\d"


class Bm25Weights:
    """Okapi BM25 (Robertson & Zaragoza 2009, section 3.1) with the idf of Lucene, which is above 0.

    Args:
        texts: the documents.
        pattern: what a word is; cards that count words keep to `WORDS`.

    Attributes:
        counter: counts the words of a text; it knows those of the documents.
        weight_NV: what a word counts for in a document; sparse.

    Raises:
        ValueError: no document has a word.
    """

    def __init__(self, texts: Sequence[str], pattern: str = WORDS) -> None:
        self.counter = CountVectorizer(token_pattern=pattern)
        count_NV = sparse.csr_matrix(self.counter.fit_transform(texts), dtype=np.float64)
        length_N = np.asarray(count_NV.sum(axis=1))[:, 0]
        having_V = np.bincount(count_NV.indices, minlength=count_NV.shape[1])
        idf_V = np.log1p((len(texts) - having_V + 0.5) / (having_V + 0.5))
        damping_N = SATURATION * (1 - LENGTH + LENGTH * length_N / max(length_N.mean(), 1e-9))
        damping = np.repeat(damping_N, np.diff(count_NV.indptr))
        count_NV.data *= idf_V[count_NV.indices] * (1 + SATURATION) / (count_NV.data + damping)
        self.weight_NV = count_NV

    def scores(self, query: str) -> np.ndarray:
        """Of each document, (N,); 0 where no word of the query stands in it."""
        return np.asarray((self.weight_NV @ self.counter.transform([query]).T).todense())[:, 0]
