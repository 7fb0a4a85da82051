"""L2 logistic regression for seven strengths of the penalty, against scikit-learn's.

On both sides each fit starts from the solution of the one before, the first from zeros.

Shape letters: N items, D features, R axes, K classes.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from benchmarks.speed.harness import Contest, Side
from tgp_multimodal.evaluation.logistic import rotate, solve

DECADES = tuple(10.0**e for e in range(-4, 3))


def contests(
    quick: bool, items: int = 5000, features: int = 256, classes: int = 10
) -> Iterator[Contest]:
    """All seven fits of one set of items; none of our objectives may be worse.

    Args:
        quick: whether the work is tiny.
        items: how many are fitted on, N.
        features: of each, D.
        classes: how many there are, K.
    """
    if quick:
        items, features, classes = 300, 24, 3
    features_ND, label_N = problem(items, features, classes)
    yield Contest(
        f"probe {items} x {features} x {classes}, {len(DECADES)} C",
        Side("evaluation.logistic", "float64", _ours(features_ND, label_N)),
        Side("sklearn LogisticRegression (lbfgs, warm)", "float64", _theirs(features_ND, label_N)),
        objective_excess,
        1e-4,
        {"items": items, "features": features, "classes": classes, "c": DECADES},
    )


def problem(items: int, features: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised features and labels.

    Features are correlated as those of a network are: their variances along the principal axes fall
    by a power law. One label in ten is random.
    """
    generator = np.random.default_rng(0)
    scale = np.arange(1, features + 1) ** -0.75
    at_NR = generator.standard_normal((items, features)) * scale
    basis, _ = np.linalg.qr(generator.standard_normal((features, features)))
    features_ND = at_NR @ basis
    features_ND = (features_ND - features_ND.mean(0)) / features_ND.std(0)
    weight_DK = generator.standard_normal((features, classes)) / np.sqrt(features)
    label_N = (at_NR / scale @ weight_DK).argmax(axis=1)
    is_noise = generator.random(items) < 0.1
    return features_ND, np.where(is_noise, generator.integers(0, classes, items), label_N)


def objective(
    features_ND: np.ndarray,
    label_N: np.ndarray,
    weight_DK: np.ndarray,
    bias_K: np.ndarray,
    c: float,
) -> float:
    """What both minimise: c x (sum of cross-entropies) + |weights|^2 / 2."""
    logits_NK = features_ND @ weight_DK + bias_K
    nats_N = logsumexp(logits_NK, axis=1) - logits_NK[np.arange(len(label_N)), label_N]
    return float(c * nats_N.sum() + (weight_DK**2).sum() / 2)


def objective_excess(ours: list[Callable[[], float]], theirs: list[Callable[[], float]]) -> float:
    """By how much our worst objective lies above the peer's, as a share; below 0, none does."""
    found = [(mine(), other()) for mine, other in zip(ours, theirs, strict=True)]
    return max((mine - other) / other for mine, other in found)


def _ours(features_ND: np.ndarray, label_N: np.ndarray) -> Callable[[], list[Callable[[], float]]]:
    classes = int(label_N.max()) + 1

    def run() -> list[Callable[[], float]]:
        axes = rotate(features_ND, len(features_ND))
        found, fits = None, []
        for c in DECADES:
            found = solve(axes.at_NR, axes.squares_R, label_N, classes, c, found)
            own_weights = (found.weight_RK, found.bias_K, c)
            fits.append(lambda p=own_weights: objective(axes.at_NR, label_N, *p))
        return fits

    return run


def _theirs(
    features_ND: np.ndarray, label_N: np.ndarray
) -> Callable[[], list[Callable[[], float]]]:
    def run() -> list[Callable[[], float]]:
        fits = []
        model = LogisticRegression(max_iter=2000, solver="lbfgs", warm_start=True)
        for c in DECADES:
            model.set_params(C=c).fit(features_ND, label_N)
            peer_weights = (model.coef_.T.copy(), model.intercept_.copy(), c)
            fits.append(lambda p=peer_weights: objective(features_ND, label_N, *p))
        return fits

    return run
