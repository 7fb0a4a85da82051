"""What every model has to beat: the most frequent answer, the longest, word counts, raw pixels.

Shape letters: N items, Y rows, X columns, C channels.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer

from tgp_multimodal.data.bm25 import WORDS
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.requests import (
    Answer,
    Embed,
    Request,
    Score,
    ScoreAnswer,
)

_CHOOSING = ("probe", "few_labels", "multiple_choice", "infilling")
_SCORING = ("multiple_choice", "infilling", "minimal_pairs")


class Majority(Adapter):
    """Gives the answer that is most frequent in training, whatever the question."""

    name = "majority"
    has_read = False
    supports = frozenset({Embed, Score})

    def can(self, card: Card) -> str | None:
        return None if card.protocol in _CHOOSING else "has one answer for all, and nothing to rank"

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        raise NotImplementedError("majority looks at no item; protocols ask guess() first")

    def guess(self, targets: Sequence[Any]) -> Any:
        """The most frequent target; of several the one that comes first in the alphabet."""
        counts = Counter(targets)
        return min(counts, key=lambda t: (-counts[t], str(t)))

    def facts(self) -> dict[str, Any]:
        return {"digest": "majority/1", "parameters": 0}


class Longest(Adapter):
    """Takes the choice with the most characters; careless distractors are often the shorter ones.

    Its nats are -1 / characters, so that the longest wins also where a card divides by them. The
    characters are those of context and continuation: what all choices share changes no order, and
    in partial scoring the choices stand at the end of the context.
    """

    name = "longest"
    has_read = False
    supports = frozenset({Score})

    def can(self, card: Card) -> str | None:
        if card.protocol not in _SCORING:
            return "compares the lengths of choices, and here are none"
        return super().can(card)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        lengths = [len(r.context + r.continuation) for r in requests if isinstance(r, Score)]
        return [ScoreAnswer(-1 / max(1, length), length, False) for length in lengths]

    def facts(self) -> dict[str, Any]:
        return {"digest": "longest/2", "parameters": 0}


class TfIdf(Adapter):
    """TF-IDF of word unigrams and bigrams, fitted on the card's own texts.

    Sublinear term frequency, smoothed inverse document frequency, unit length: scikit-learn's
    `TfidfVectorizer`. With the probe on top it is TF-IDF + logistic regression.
    """

    name = "tfidf"
    has_read = False
    supports = frozenset({Embed})
    embeds = frozenset({"text"})

    def __init__(self) -> None:
        self.vectorizer: TfidfVectorizer | None = None

    def fit(self, items: Iterable[str]) -> None:
        self.vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORDS
        ).fit(items)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        if self.vectorizer is None:
            raise ValueError(
                "tfidf must be fitted before it answers. Got no training texts instead."
            )
        if not requests:
            return []
        matrix = self.vectorizer.transform([str(r.item) for r in requests if isinstance(r, Embed)])
        return [matrix[i] for i in range(matrix.shape[0])]

    def facts(self) -> dict[str, Any]:
        return {"digest": f"tfidf/1/scikit-learn {sklearn.__version__}", "parameters": 0}


class Pixels(Adapter):
    """The picture itself as numbers from 0 to 1; one channel if all training pictures are grey."""

    name = "pixels"
    has_read = False
    supports = frozenset({Embed})
    embeds = frozenset({"image"})

    def __init__(self) -> None:
        self.channels = 3

    def fit(self, items: Iterable[np.ndarray]) -> None:
        grey = [(i == i[..., :1]).all() for i in items]
        self.channels = 1 if grey and all(grey) else 3

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        items = [np.asarray(r.item) for r in requests if isinstance(r, Embed)]
        return [i[..., : self.channels].reshape(-1).astype(np.float32) / 255 for i in items]

    def facts(self) -> dict[str, Any]:
        return {"digest": "pixels/1", "parameters": 0}
