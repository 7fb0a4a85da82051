"""Taggers' features before networks: what a word looks like and which words stand beside it."""

from collections.abc import Iterator, Sequence
from typing import Any

import sklearn
from sklearn.feature_extraction import FeatureHasher

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.requests import Answer, EmbedTokens, Request

_WIDTH = 1 << 15  # columns that features are hashed into; of 10,000, a quarter share a column
_NEIGHBOURS = (-2, -1, 1, 2)
_AFFIXES = (1, 2, 3, 4)


class WordFeatures(Adapter):
    """Spelling and neighbours of a word as zeros and ones: the features of a classical tagger.

    The word, its shape ("Aa-0" for "Kras-12"), its first and last one to four letters, the two
    words on each side and the shapes of the nearest two; after Ratinov and Roth (2009, "Design
    Challenges and Misconceptions in Named Entity Recognition", section 2), without their lists of
    names. They are hashed into columns and not learned, so that a word has the same row in every
    data set.
    """

    name = "words"
    has_read = False
    supports = frozenset({EmbedTokens})
    embeds = frozenset({"text"})

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        hasher = FeatureHasher(_WIDTH, input_type="string", alternate_sign=False)
        sentences = [r.words for r in requests if isinstance(r, EmbedTokens)]
        return [hasher.transform(list(features(words))) for words in sentences]

    def facts(self) -> dict[str, Any]:
        return {"digest": f"words/1/scikit-learn {sklearn.__version__}", "parameters": 0}


def features(words: Sequence[str]) -> Iterator[list[str]]:
    """Names of the features of each word."""
    for place, word in enumerate(words):
        small = word.lower()
        found = ["bias", f"word={small}", f"shape={shape(word)}"]
        found += [f"first={small[:n]}" for n in _AFFIXES if n < len(small)]
        found += [f"last={small[-n:]}" for n in _AFFIXES if n < len(small)]
        for step in _NEIGHBOURS:
            there = 0 <= place + step < len(words)
            neighbour = words[place + step] if there else ""
            found.append(f"{step}={neighbour.lower()}")
            if abs(step) == 1:
                found.append(f"{step}shape={shape(neighbour)}")
        yield found


def shape(word: str) -> str:
    """Capitals as A, other letters as a, digits as 0, marks as they are; runs count as one."""
    kinds = (
        "A" if c.isupper() else "a" if c.isalpha() else "0" if c.isdigit() else c for c in word
    )
    found = ""
    for kind in kinds:
        if not found.endswith(kind):
            found += kind
    return found
