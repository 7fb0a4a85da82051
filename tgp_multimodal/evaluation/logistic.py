"""L2 logistic regression over a path of penalties: scikit-learn's objective, a tenth of the time.

Features of a network are so correlated that L-BFGS needs hundreds of steps for each penalty. Here
they are rotated once onto their principal axes, which leaves the penalty unchanged and lets each
axis be scaled by its own curvature; tens of steps are then enough. `tests/evaluation/
test_logistic.py` compares the solution with scikit-learn's.

Shape letters: N items, D features, R axes, K classes.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import linalg, sparse
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

Features: TypeAlias = np.ndarray | sparse.csr_matrix

# A tolerance at which predictions are those of the exact solution, even at a C so small that all
# classes are nearly alike; the usual one moves probabilities by 1e-4, and is enough to choose C by.
FINE = 1e-8
_ROWS = 256  # of a block
_EXACT = 4000  # rows of a matrix that is decomposed exactly, however little of it is wanted
MOST_AXES = 4000  # of dense features; beyond, a fit takes minutes for nothing that is seen


class Axes(NamedTuple):
    """Features in rotated coordinates.

    Attributes:
        at_NR: coordinates of all items.
        squares_R: sum of squares along each axis, over the items that span them; 0 where the
            features were left as they are.
    """

    at_NR: Features
    squares_R: np.ndarray


class Classifier(NamedTuple):
    """A linear classifier: weights and a bias for each class."""

    weight_RK: np.ndarray
    bias_K: np.ndarray
    steps: int

    def predict(self, at_NR: Features) -> np.ndarray:
        """Index of the most probable class, (N,)."""
        return np.asarray((at_NR @ self.weight_RK + self.bias_K).argmax(axis=1))


def rotate(features_ND: Features, known: int, largest: int | None = None) -> Axes:
    """Principal axes of the first `known` items, for all items.

    Up to 4,000 axes nothing is lost: an L2-penalised solution lies in the span of the items it is
    fitted on, and a rotation keeps the penalty. Of more, dense features keep about the largest
    4,000 (`eigen`), and sparse ones are left as they are. The smaller of the two Gram matrices is
    decomposed.

    Args:
        features_ND: all items.
        known: how many of them span the axes.
        largest: keep so many axes, those along which the items differ most or nearly, and lose the
            rest; left out: all of them.
    """
    # Small matrices are fastest on one thread, and by far where other processes compute too.
    is_small = min(known, features_ND.shape[1]) <= _EXACT
    with threadpool_limits(1 if is_small else None, user_api="blas"):
        return _rotated(features_ND, known, largest)


def _rotated(features_ND: Features, known: int, largest: int | None) -> Axes:
    fitted = features_ND[:known]
    width = features_ND.shape[1]
    if min(known, width) > MOST_AXES:
        if sparse.issparse(features_ND):
            return Axes(features_ND, np.zeros(width))
        largest = min(largest or MOST_AXES, MOST_AXES)
    if width <= known:
        basis_DR, squares_R = principal_axes(fitted, largest)
        return Axes(np.asarray(features_ND @ basis_DR), squares_R)
    gram_NN = _dense(fitted @ fitted.T)
    squares_R, basis_NR = eigen(gram_NN, largest)
    kept = squares_R > squares_R[-1] * 1e-12
    basis_NR = basis_NR[:, kept] / np.sqrt(squares_R[kept])
    others_NR = _dense(features_ND[known:] @ fitted.T) @ basis_NR
    at_NR = np.concatenate([gram_NN @ basis_NR, others_NR])
    return Axes(at_NR, np.square(at_NR[:known]).sum(0))


def principal_axes(
    features_ND: Features, largest: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Directions (D, R) that the features span, and the sum of squares along each, (R,)."""
    squares_R, basis_DR = eigen(_dense(features_ND.T @ features_ND), largest)
    kept = squares_R > squares_R[-1] * 1e-12
    return basis_DR[:, kept], squares_R[kept]


def solve(
    at_NR: Features,
    squares_R: np.ndarray,
    label_N: np.ndarray,
    classes: int,
    c: float,
    start: Classifier | None = None,
    tolerance: float = 1e-3,
    steps: int = 300,
) -> Classifier:
    """Minimises c x (sum of cross-entropies) + |weights|^2 / 2, the bias not penalised.

    With two classes the penalty is that of scikit-learn, which has one weight vector and not two.

    Args:
        at_NR: coordinates of the items to fit on. In float32, which takes half the time, gradients
            are right to about 1e-6 of their size: enough for the usual tolerance.
        squares_R: as `rotate` gives them.
        label_N: class of each, 0 to `classes` - 1.
        classes: how many there are.
        c: inverse regularisation strength, as in scikit-learn.
        start: a solution for another c.
        tolerance: of the gradient, in coordinates scaled to a curvature of about one.
        steps: at most; only a vanishing penalty on separable items needs more.
    """
    count, axes = at_NR.shape
    if classes == 1:  # nothing to tell apart
        return Classifier(np.zeros((axes, 1)), np.zeros(1), 0)
    scale = c / 2 if classes == 2 else c
    # Curvature of the cross-entropy at an even guess; where the model is sure it is less.
    curvature_R = 1 + scale * squares_R * (classes - 1) / classes**2
    step_R1 = 1 / np.sqrt(curvature_R)[:, None]
    bias_step = 1 / np.sqrt(scale * count * (classes - 1) / classes**2)
    target_NK = np.eye(classes, dtype=at_NR.dtype)[label_N]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = flat.reshape(axes + 1, classes)
        weight_RK = scaled[:-1] * step_R1
        nats, gradient_RK, gradient_K = _loss_and_gradient(
            at_NR, target_NK, weight_RK, scaled[-1] * bias_step
        )
        loss = scale * nats + (weight_RK**2).sum() / 2
        gradient_RK = (scale * gradient_RK + weight_RK) * step_R1
        return loss, np.concatenate([gradient_RK, scale * gradient_K[None] * bias_step]).ravel()

    first = np.zeros((axes + 1, classes))
    if start is not None:
        first = np.vstack([start.weight_RK / step_R1, start.bias_K / bias_step])
    found = minimize(
        objective,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxiter": steps,
            "gtol": tolerance * min(1.0, np.sqrt(scale * count)),
            "ftol": tolerance**2,
            "maxcor": 20,
        },
    )
    best = found.x.reshape(axes + 1, classes)
    return Classifier(best[:-1] * step_R1, best[-1] * bias_step, int(found.nit))


def _loss_and_gradient(
    at_NR: Features, target_NK: np.ndarray, weight_RK: np.ndarray, bias_K: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Sum of cross-entropies, and its gradients in the weights and the bias.

    Both products of a block of rows are made while it is in the cache: this is bound by reading the
    items from memory.
    """
    weight_RK, bias_K = weight_RK.astype(at_NR.dtype), bias_K.astype(at_NR.dtype)
    nats, gradient_RK, gradient_K = 0.0, np.zeros(weight_RK.shape), np.zeros(len(bias_K))
    rows = at_NR.shape[0] if sparse.issparse(at_NR) else _ROWS
    for start in range(0, at_NR.shape[0], rows):
        some_NR, wanted_NK = at_NR[start : start + rows], target_NK[start : start + rows]
        log_p_NK = log_softmax(some_NR @ weight_RK + bias_K, axis=1)
        error_NK = np.exp(log_p_NK) - wanted_NK
        nats -= float((log_p_NK * wanted_NK).sum(dtype=np.float64))
        gradient_RK += some_NR.T @ error_NK
        gradient_K += error_NK.sum(axis=0, dtype=np.float64)
    return nats, gradient_RK, gradient_K


def eigen(gram: np.ndarray, largest: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of a symmetric matrix from the smallest on, and their vectors as columns.

    Of a large matrix, of which at most two thirds are wanted, they are about those; see `_ritz`.
    """
    size = len(gram)
    if largest is None or largest >= size:
        return np.linalg.eigh(gram)
    if size > _EXACT and 3 * largest <= 2 * size:
        return _ritz(gram, largest)
    return linalg.eigh(gram, subset_by_index=(size - largest, size - 1))


def _ritz(gram: np.ndarray, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """About the largest eigenvalues and their vectors, by large products alone.

    The Ritz pairs of what the matrix makes of random directions (Halko et al. 2011,
    arXiv:0909.4061). The vectors are as orthogonal, and conjugate with respect to the matrix, as
    exact ones, so they are axes like any others; where eigenvalues lie close together they share
    directions with some that are left out.
    """
    drawn = np.random.default_rng(0).standard_normal((len(gram), largest + largest // 10 + 10))
    basis, _ = linalg.qr(gram @ drawn, mode="economic", overwrite_a=True, check_finite=False)
    values, vectors = np.linalg.eigh(basis.T @ (gram @ basis))
    return values[-largest:], basis @ vectors[:, -largest:]


def _dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
