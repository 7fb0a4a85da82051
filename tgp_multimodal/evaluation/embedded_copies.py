"""Which held-out text of the embedded corpus also stands in its training text.

Installed libraries copy docstrings and code from each other, so a file that training never reads
may hold text that it does. Text is left out where 13 words in a row are the same (Brown et al.
2020, arXiv:2005.14165, appendix C); words are those of `data.ngrams`.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

import numpy as np

from tgp_multimodal.data import embedded
from tgp_multimodal.data.contamination import SIZE, shares
from tgp_multimodal.data.ngrams import ngrams, words

T = TypeVar("T")


def unseen(items: Iterable[T], text_of: Callable[[T], str]) -> list[T]:
    """The items whose text shares no 13 words in a row with text that is trained on."""
    candidates = list(items)
    share_N = shares([text_of(item) for item in candidates], _training_grams())
    return [item for item, share in zip(candidates, share_N, strict=True) if share == 0]


@lru_cache(maxsize=1)
def _training_grams() -> np.ndarray:
    """Sorted, each once. The docstrings of training files are part of their code."""
    documents = (*embedded.language_reference(), *embedded.code("train"))
    return np.unique(np.concatenate([ngrams(words(d.text), SIZE) for d in documents]))
