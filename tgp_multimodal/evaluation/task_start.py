"""Where adapting begins: the best linear head on frozen features, by the solvers of the probes.

Fine-tuning from a fitted head instead of a random one distorts the features less (Kumar et al.
2022, arXiv:2202.10054), and spares the choice of how fast each of the two should move at first.

Shape letters: N items, F features, R axes, K outputs.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from tgp_multimodal.evaluation.logistic import (
    MOST_AXES,
    Axes,
    Classifier,
    eigen,
    principal_axes,
    solve,
)
from tgp_multimodal.evaluation.protocols.multi_label import fit_each
from tgp_multimodal.evaluation.protocols.probe import DECADES

# How good outputs (N, K) of the held items are; larger is better.
Judge = Callable[[np.ndarray], float]

_PATIENCE = 2  # decades in a row that bring nothing end the sweep


class LinearMap(NamedTuple):
    """A linear map of standardised features, and how it was found.

    Attributes:
        mean_F, scale_F: of the features that were fitted on.
        weight_KF, bias_K: the map.
        c: inverse strength of the penalty.
        score: on the held items.
    """

    mean_F: np.ndarray
    scale_F: np.ndarray
    weight_KF: np.ndarray
    bias_K: np.ndarray
    c: float
    score: float


class Targets(NamedTuple):
    """What is to be read off the features.

    Attributes:
        kind: "classes" (numbers from 0), "labels" (a table of booleans) or "quantity".
        values: (N,), (N, K) or (N,).
        outputs: K.
    """

    kind: str
    values: np.ndarray
    outputs: int


def fit(
    features_NF: np.ndarray,
    targets: Targets,
    fit_on: np.ndarray,
    held: np.ndarray,
    judge: Judge,
    is_refitted: bool = False,
) -> LinearMap:
    """Sweeps the penalty over decades, from strong to weak, and takes the best on held items.

    Args:
        features_NF: of all items.
        targets: of all items.
        fit_on: places of those that are fitted on.
        held: places of those that the penalty is chosen on.
        judge: of the outputs for `held`. Of classes, ties go to the higher likelihood of `held`, so
            that shares mean something where all are right; other ties to the stronger penalty.
        is_refitted: whether the answer is fitted once more, on both together.
    """
    mean_F, scale_F = features_NF[fit_on].mean(0), features_NF[fit_on].std(0)
    # Of a feature that is constant but for the rounding of float32, that must not be enlarged.
    scale_F = np.where(scale_F > 1e-12 + 1e-7 * np.abs(mean_F), scale_F, 1.0)
    scaled_NF = (features_NF - mean_F) / scale_F
    # Matrices this thin are fastest on one thread, and by far where other processes compute too.
    with threadpool_limits(1, user_api="blas"):
        basis_FR, squares_R = _basis(scaled_NF)
        axes = Axes(scaled_NF @ basis_FR, squares_R)
        best, chosen_c = (-np.inf, -np.inf), DECADES[0]
        idle, maps = 0, None
        for c in DECADES:
            maps = _solve(axes, targets, fit_on, c, maps)
            weight_RK, bias_K = _joined(maps)
            outputs_NK = axes.at_NR[held] @ weight_RK + bias_K
            found = judge(outputs_NK), _likelihood(outputs_NK, targets, held)
            idle = 0 if found > best else idle + 1
            best, chosen_c = max((best, chosen_c), (found, c), key=lambda pair: pair[0])
            if idle >= _PATIENCE and chosen_c > DECADES[0]:
                break
        chosen = np.concatenate([fit_on, held]) if is_refitted else fit_on
        weight_RK, bias_K = _joined(_solve(axes, targets, chosen, chosen_c, None))
    return LinearMap(mean_F, scale_F, (basis_FR @ weight_RK).T, bias_K, chosen_c, best[0])


def _likelihood(outputs_NK: np.ndarray, targets: Targets, held: np.ndarray) -> float:
    """Mean log-likelihood of the classes of the held items; 0 where targets are none."""
    value_N = targets.values[held] if targets.kind == "classes" else np.full(len(held), -1)
    known_N = value_N >= 0  # a tag that training does not have has no likelihood
    if not known_N.any():
        return 0.0
    shares_NK = log_softmax(outputs_NK[known_N], axis=1)
    return float(np.take_along_axis(shares_NK, value_N[known_N][:, None], axis=1).mean())


def _basis(scaled_NF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal axes (F, R), 4,000 at most, and the squares along each, (R,)."""
    if scaled_NF.shape[0] >= scaled_NF.shape[1]:
        return principal_axes(scaled_NF, MOST_AXES)
    squares, side_NR = eigen(scaled_NF @ scaled_NF.T, MOST_AXES)
    kept = squares > squares[-1] * 1e-12
    basis_FR = scaled_NF.T @ side_NR[:, kept] / np.sqrt(squares[kept])
    return basis_FR, np.square(scaled_NF @ basis_FR).sum(0)


# One map (R, outputs) with its bias, or one classifier for each label.
_Maps = Classifier | list[Classifier]


def _solve(
    axes: Axes, targets: Targets, chosen: np.ndarray, c: float, start: _Maps | None
) -> _Maps:
    own = Axes(axes.at_NR[chosen], axes.squares_R)
    values = targets.values[chosen]
    if targets.kind == "quantity":
        return _ridge(np.asarray(own.at_NR), values, c)
    if targets.kind == "labels":
        before = start if isinstance(start, list) else [None] * targets.outputs
        found = fit_each(own, values, c, before)
        rate_K = (values.sum(0) + 0.5) / (len(values) + 1)
        return [p or _constant(own, rate) for p, rate in zip(found, rate_K, strict=True)]
    first = start if isinstance(start, Classifier) else None
    return solve(own.at_NR, own.squares_R, values, targets.outputs, c, first)


def _ridge(at_NR: np.ndarray, value_N: np.ndarray, c: float) -> Classifier:
    """Least squares with the penalty |w|^2 / c, the bias not penalised."""
    mean_R, mean = at_NR.mean(0), value_N.mean()
    centred_NR = at_NR - mean_R
    gram_RR = centred_NR.T @ centred_NR + np.eye(at_NR.shape[1]) / c
    weight_R = np.linalg.solve(gram_RR, centred_NR.T @ (value_N - mean))
    return Classifier(weight_R[:, None], np.array([mean - mean_R @ weight_R]), 1)


def _constant(axes: Axes, rate: float) -> Classifier:
    odds = float(np.log(rate / (1 - rate)))
    return Classifier(np.zeros((axes.at_NR.shape[1], 2)), np.array([0.0, odds]), 0)


def _joined(maps: _Maps) -> tuple[np.ndarray, np.ndarray]:
    """Weights (R, K) and biases (K,); of a classifier of two classes their difference."""
    if isinstance(maps, Classifier):
        return maps.weight_RK, maps.bias_K
    weight_RK = np.stack([m.weight_RK[:, 1] - m.weight_RK[:, 0] for m in maps], axis=1)
    return weight_RK, np.array([m.bias_K[1] - m.bias_K[0] for m in maps])
