import numpy as np
import pytest
from scipy import sparse
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from tgp_multimodal.evaluation import logistic
from tgp_multimodal.evaluation.logistic import rotate, solve


def data(width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features, some axes a thousand times longer than others; labels with noise."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((width, width)) * np.logspace(0, -3, width)[:, None]
    features = rng.standard_normal((120, width)) @ mixing
    score = features @ rng.standard_normal((width, classes)) + rng.standard_normal((120, classes))
    return features - features.mean(0), score.argmax(1)


def probabilities(features: np.ndarray, labels: np.ndarray, c: float) -> np.ndarray:
    reference = LogisticRegression(C=c, tol=1e-10, max_iter=100_000)
    return reference.fit(features[:90], labels[:90]).predict_proba(features[90:])


@pytest.mark.parametrize(("width", "classes"), [(12, 4), (200, 3), (12, 2)])
@pytest.mark.parametrize("c", [0.001, 1.0, 100.0])
def test_the_solution_is_scikit_learns(width: int, classes: int, c: float) -> None:
    features, labels = data(width, classes)
    at, squares = rotate(features, 90)
    assert at.shape[1] <= min(width, 90)
    found = solve(at[:90], squares, labels[:90], classes, c, tolerance=1e-8, steps=5000)
    logits = at[90:] @ found.weight_RK + found.bias_K
    mine = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(mine, probabilities(features, labels, c), atol=2e-3)


@pytest.mark.parametrize("c", [0.001, 1.0, 100.0])
def test_the_usual_tolerance_is_at_least_as_good_as_scikit_learns(c: float) -> None:
    features, labels = data(200, 3)
    at, squares = rotate(features, 90)
    found = solve(at[:90], squares, labels[:90], 3, c)
    reference = LogisticRegression(C=c, max_iter=1000).fit(features[:90], labels[:90])

    def cost(matrix: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> float:
        log_p = log_softmax(matrix[:90] @ weight + bias, axis=1)
        return (weight**2).sum() / 2 - c * log_p[range(90), labels[:90]].sum()

    mine = cost(at, found.weight_RK, found.bias_K)
    assert mine <= cost(features, reference.coef_.T, reference.intercept_) * (1 + 1e-5)


@pytest.mark.parametrize("exact", [4000, 20])
@pytest.mark.parametrize("width", [30, 200])
def test_the_largest_axes_are_those_of_all_axes(
    width: int, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of five strong directions: what those tell is all that there is to know."""
    monkeypatch.setattr(logistic, "_EXACT", exact)
    rng = np.random.default_rng(1)
    features = rng.standard_normal((120, 5)) @ rng.standard_normal((5, width))
    features += 1e-3 * rng.standard_normal((120, width))
    whole, squares = rotate(features, 90)
    few, largest = rotate(features, 90, 5)
    assert whole.shape[1] == min(width, 90)
    np.testing.assert_allclose(largest, squares[-5:], rtol=1e-6)
    np.testing.assert_allclose(np.abs(few), np.abs(whole[:, -5:]), atol=1e-6)


@pytest.mark.parametrize("width", [80, 200])
def test_axes_by_products_alone_are_orthogonal_and_hold_most(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = np.random.default_rng(1).standard_normal((120, width))
    exact = rotate(features, 90, 30)
    monkeypatch.setattr(logistic, "_EXACT", 20)
    at, squares = rotate(features, 90, 30)
    assert at.shape == (120, 30)
    axes = rotate(np.vstack([features, np.eye(width)]), 90, 30).at_NR[120:]
    np.testing.assert_allclose(axes.T @ axes, np.eye(30), atol=1e-8)
    np.testing.assert_allclose(features @ axes, at, atol=1e-8)
    np.testing.assert_allclose((at[:90] ** 2).sum(0), squares)
    assert 0.7 * exact.squares_R.sum() < squares.sum() < exact.squares_R.sum()


def test_a_warm_start_ends_where_a_cold_one_does() -> None:
    features, labels = data(30, 3)
    at, squares = rotate(features, 90)
    before = solve(at[:90], squares, labels[:90], 3, 0.01)
    warm = solve(at[:90], squares, labels[:90], 3, 0.1, before)
    cold = solve(at[:90], squares, labels[:90], 3, 0.1)
    np.testing.assert_allclose(warm.weight_RK, cold.weight_RK, atol=1e-3)
    assert (warm.predict(at[90:]) == cold.predict(at[90:])).all()


def test_sparse_features_give_what_dense_ones_give() -> None:
    features, labels = data(200, 3)
    features[np.abs(features) < 0.5] = 0
    dense, squares = rotate(features, 90)
    thin, same = rotate(sparse.csr_matrix(features), 90)
    np.testing.assert_allclose(squares, same)
    one, other = (solve(x[:90], squares, labels[:90], 3, 1.0) for x in (dense, thin))
    assert (one.predict(dense) == other.predict(thin)).all()


def test_of_more_axes_than_are_kept_the_largest_stay_or_sparse_ones_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, labels = data(40, 3)
    rotated = solve(*(x[:90] for x in rotate(features, 90)), labels[:90], 3, 0.1)
    largest = rotate(features, 90).squares_R[-10:]
    monkeypatch.setattr("tgp_multimodal.evaluation.logistic.MOST_AXES", 10)
    few = rotate(features, 90)
    assert few.at_NR.shape == (len(features), 10)
    np.testing.assert_allclose(few.squares_R, largest)
    at, squares = rotate(sparse.csr_matrix(features), 90)
    assert sparse.issparse(at)
    plain = solve(at[:90], squares, labels[:90], 3, 0.1)
    monkeypatch.undo()
    expected = rotated.predict(rotate(features, 90).at_NR)
    assert (plain.predict(at) == expected).mean() > 0.97


def test_of_one_class_there_is_nothing_to_learn() -> None:
    found = solve(np.ones((5, 2)), np.ones(2), np.zeros(5, int), 1, 1.0)
    assert not found.weight_RK.any()
    assert found.bias_K.tolist() == [0]
