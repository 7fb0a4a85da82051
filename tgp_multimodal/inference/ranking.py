"""Ranks texts: by the cosine similarity of embeddings, and by fusing several rankings.

Shape letters: N texts, D width.
"""

from collections.abc import Sequence

import numpy as np

_DAMPING = 60  # of Cormack et al.; hardly matters


def cosines(query_D: np.ndarray, vector_ND: np.ndarray) -> np.ndarray:
    """Cosine similarity of a query with each text, (N,), both centred by the mean of the texts.

    States of a language model share one large direction that carries no information. Equal texts,
    or a single one, are their own mean: then nothing is subtracted.
    """
    both = np.concatenate([query_D[None], vector_ND])
    if (vector_ND != vector_ND[:1]).any():
        both = both - vector_ND.mean(0)
    both = both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-12)
    return both[1:] @ both[0]


def best(score_N: np.ndarray, k: int) -> list[int]:
    """Numbers of the `k` texts of the highest scores, best first; of equal ones the earlier."""
    return np.argsort(-score_N, kind="stable")[:k].tolist()


def reciprocal_rank_fusion(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Reciprocal rank fusion (Cormack, Clarke & Buettcher 2009, equation 1) of rankings, (N,).

    Args:
        scores: of each ranking, (N,); minus infinity where it did not find a text.
    """
    total_N = np.zeros(len(scores[0]))
    for score_N in scores:
        order = best(score_N, len(score_N))
        rank_N = np.empty(len(order))
        rank_N[order] = np.arange(1, len(order) + 1)
        total_N += np.where(np.isneginf(score_N), 0.0, 1 / (_DAMPING + rank_N))
    return total_N
