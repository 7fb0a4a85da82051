"""Ranks texts: by the cosine similarity of embeddings, and by fusing several rankings.

Shape letters: N texts, D width.
"""

from collections.abc import Sequence

import numpy as np

_TINY = 1e-12  # of norms
_ROUNDING = 1e-6  # of scores in float32, relative


def cosines(query_D: np.ndarray, vector_ND: np.ndarray) -> np.ndarray:
    """Cosine similarity of a query with each text, (N,); 0 with a vector of zeros."""
    norm_N = np.linalg.norm(vector_ND, axis=1) * np.linalg.norm(query_D)
    return vector_ND @ query_D / np.maximum(norm_N, _TINY)


def best(score_N: np.ndarray, k: int) -> list[int]:
    """Numbers of the `k` texts of the highest scores, best first; of equal ones the earlier."""
    return np.argsort(-score_N, kind="stable")[:k].tolist()


def sum_of_standard_scores(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Several rankings of the same texts as one: the sum of their standard scores, (N,).

    A text counts by how far it lies from the others of a ranking, in standard deviations of that
    ranking (Montague & Aslam 2001, doi:10.1145/502585.502657), which ranks alone forget. One of N
    texts that stands alone is worth sqrt(N): in large collections rare words decide.

    Args:
        scores: of each ranking, (N,), the higher the better. What is not finite was not found: it
            counts as 0, or as the lowest score if that is below.
    """
    total_N = np.zeros(len(scores[0]))
    for given_N in scores:
        score_N = given_N.astype(np.float64)
        found_N = np.isfinite(score_N)
        score_N[~found_N] = score_N[found_N].min(initial=0.0)
        deviation = score_N.std()
        if deviation > _ROUNDING * np.abs(score_N).max():  # else all say the same
            total_N += (score_N - score_N.mean()) / deviation
    return total_N
