"""Ranks texts: by the cosine similarity of embeddings, and by fusing several rankings.

Shape letters: N texts, D width.
"""

from collections.abc import Sequence

import numpy as np

_TINY = 1e-12  # of norms and deviations


def cosines(query_D: np.ndarray, vector_ND: np.ndarray) -> np.ndarray:
    """Cosine similarity of a query with each text, (N,); 0 with a vector of zeros."""
    both = np.concatenate([query_D[None], vector_ND])
    both = both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), _TINY)
    return both[1:] @ both[0]


def best(score_N: np.ndarray, k: int) -> list[int]:
    """Numbers of the `k` texts of the highest scores, best first; of equal ones the earlier."""
    return np.argsort(-score_N, kind="stable")[:k].tolist()


def fused(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Sum of the standard scores of several rankings of the same texts, (N,).

    Each ranking counts by how far it sets a text apart, in standard deviations from its own mean
    (Montague & Aslam 2001, doi:10.1145/502585.502657). A fusion of ranks alone would count the
    best of scores that hardly differ as much as a sure find.

    Args:
        scores: of each ranking, (N,), the higher the better; where it did not find a text, minus
            infinity, which counts as 0.
    """
    total_N = np.zeros(len(scores[0]))
    for score_N in scores:
        score_N = np.where(np.isneginf(score_N), 0.0, score_N)
        total_N += (score_N - score_N.mean()) / max(float(score_N.std()), _TINY)
    return total_N
