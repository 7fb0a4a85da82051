"""Distances between two sets of pictures in a feature space: are they from one distribution?

Shape letters: N real, M drawn pictures, D width.
"""

from typing import NamedTuple

import numpy as np
from scipy import linalg
from sklearn.metrics import pairwise_distances


class Coverage(NamedTuple):
    """Shares of Kynkäänniemi et al. 2019 (arXiv:1904.06991, equation 2), from 0 to 1.

    Attributes:
        precision: of drawn pictures that lie among the real ones.
        recall: of real pictures that lie among the drawn ones.
    """

    precision: float
    recall: float


def kernel_distance(real_ND: np.ndarray, drawn_MD: np.ndarray) -> float:
    """KID: the unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3.

    Bińkowski et al. 2018 (arXiv:1801.01401, section 4). Its expectation is zero for two samples of
    one distribution, so it is sometimes negative; unlike that of the Fréchet distance, it does not
    depend on the number of pictures.

    Raises:
        ValueError: a set has fewer than two pictures.
    """
    n, m = len(real_ND), len(drawn_MD)
    if min(n, m) < 2:
        raise ValueError(f"each set must hold at least two pictures. Got {n} and {m} instead.")
    own_NN, own_MM = _kernel(real_ND, real_ND), _kernel(drawn_MD, drawn_MD)
    within = (own_NN.sum() - own_NN.trace()) / (n * (n - 1))
    within += (own_MM.sum() - own_MM.trace()) / (m * (m - 1))
    return float(within - 2 * _kernel(real_ND, drawn_MD).mean())


def kernel_interval(
    real_ND: np.ndarray, drawn_MD: np.ndarray, seed: int = 0, resamples: int = 200
) -> tuple[float, float]:
    """95 % of the distances of halves drawn without replacement, centred on that of the whole.

    A mean over half of a sample scatters around that of the whole as the whole does around the
    truth: 1 / (N / 2) - 1 / N = 1 / N (Politis & Romano 1994). A bootstrap would count a picture
    against its copy, which this kernel takes for similarity.
    """
    generator, value = np.random.default_rng(seed), kernel_distance(real_ND, drawn_MD)
    found = []
    for _ in range(resamples):
        rows = [generator.permutation(len(x))[: max(2, len(x) // 2)] for x in (real_ND, drawn_MD)]
        found.append(kernel_distance(real_ND[rows[0]], drawn_MD[rows[1]]))
    low, high = np.quantile(np.array(found) - np.mean(found), [0.025, 0.975])
    return float(value + low), float(value + high)


def frechet_distance(real_ND: np.ndarray, drawn_MD: np.ndarray) -> float:
    """Fréchet distance of the two normal distributions with the sets' means and covariances.

    Heusel et al. 2017 (arXiv:1706.08500, equation 6). It falls with the number of pictures, so that
    only values of equal numbers compare.
    """
    mean = real_ND.mean(axis=0) - drawn_MD.mean(axis=0)
    left, right = np.cov(real_ND, rowvar=False), np.cov(drawn_MD, rowvar=False)
    root = _root(left)
    # The trace of (AB)^1/2 is that of (A^1/2 B A^1/2)^1/2, which is symmetric.
    cross = np.sqrt(np.clip(linalg.eigvalsh(root @ right @ root), 0, None)).sum()
    return float(mean @ mean + left.trace() + right.trace() - 2 * cross)


def coverage(real_ND: np.ndarray, drawn_MD: np.ndarray, neighbours: int = 3) -> Coverage:
    """Which share of one set lies in the balls of the other, each out to its k-th neighbour."""
    between_NM = pairwise_distances(real_ND, drawn_MD)
    balls = []
    for own in (real_ND, drawn_MD):
        sorted_NN = np.sort(pairwise_distances(own), axis=1)  # the first is the picture itself
        balls.append(sorted_NN[:, min(neighbours, len(own) - 1)])
    precision = (between_NM <= balls[0][:, None]).any(axis=0).mean()
    recall = (between_NM <= balls[1][None, :]).any(axis=1).mean()
    return Coverage(float(precision), float(recall))


def _kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray((left @ right.T / left.shape[1] + 1) ** 3)


def _root(matrix_DD: np.ndarray) -> np.ndarray:
    values, vectors = linalg.eigh(matrix_DD)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)
