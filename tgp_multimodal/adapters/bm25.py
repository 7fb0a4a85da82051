"""BM25 (`data/bm25.py`) as a model that cards can ask.

Shape letters: N documents, V words.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import sklearn
from scipy import sparse

from tgp_multimodal.data.bm25 import LENGTH, SATURATION, Bm25Weights
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.requests import Answer, Embed, Request


class Bm25(Adapter):
    """Ranks documents by the words that they share with a query.

    A score is the inner product of a query's counts and a document's weights. Cards rank by cosine,
    which divides by the length of a document's vector; so one more number fills every document up
    to the length of the longest, and a query has 0 there (Neyshabur & Srebro 2015,
    arXiv:1410.5518, section 3): the cosine then orders as the inner product does.

    A text is a document if it is one of those that the model was fitted on and is not asked as a
    query, which may say the same word for word; all else is a query.
    """

    name = "bm25"
    has_read = False
    supports = frozenset({Embed})
    embeds = frozenset({"text"})

    def __init__(self) -> None:
        self.words: Bm25Weights | None = None
        self.documents: dict[str, sparse.csr_matrix] = {}

    def can(self, card: Card) -> str | None:
        return None if card.protocol == "retrieval" else "ranks documents, and does nothing else"

    def fit(self, items: Iterable[str]) -> None:
        texts = list(dict.fromkeys(items))
        self.words = Bm25Weights(texts)
        count_NV = self.words.weight_NV
        square_N = np.asarray(count_NV.multiply(count_NV).sum(axis=1))[:, 0]
        filling_N1 = sparse.csr_matrix(np.sqrt(square_N.max(initial=0) - square_N)[:, None])
        weight_NV = sparse.csr_matrix(sparse.hstack([count_NV, filling_N1]))
        self.documents = {text: weight_NV[i] for i, text in enumerate(texts)}

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        if self.words is None:
            raise ValueError("bm25 must be fitted before it answers. Got no documents instead.")
        return [self._vector(r) for r in requests if isinstance(r, Embed)]

    def _vector(self, request: Embed) -> sparse.csr_matrix:
        assert self.words is not None
        text = str(request.item)
        if request.role != "query" and text in self.documents:
            return self.documents[text]
        counts = self.words.counter.transform([text])
        return sparse.csr_matrix(sparse.hstack([counts, sparse.csr_matrix((1, 1))]))

    def facts(self) -> dict[str, Any]:
        settings = f"{SATURATION}/{LENGTH}/scikit-learn {sklearn.__version__}"
        return {"digest": f"bm25/2/{settings}", "parameters": 0}
