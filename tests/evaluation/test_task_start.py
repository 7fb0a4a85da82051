"""The fitted start against scikit-learn's solvers."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from tgp_multimodal.evaluation.task_start import Targets, fit


def features(count, width, seed=0):
    return np.random.default_rng(seed).normal(2.0, 3.0, (count, width))


def accuracy_of(values):
    """The share of items whose largest output is that of their class."""
    return lambda outputs_NK: float((outputs_NK.argmax(axis=1) == values).mean())


def outputs(fitted, features_NF):
    return (features_NF - fitted.mean_F) / fitted.scale_F @ fitted.weight_KF.T + fitted.bias_K


@pytest.mark.parametrize(("count", "width"), [(120, 8), (40, 90)])
def test_classes_as_in_scikit_learn(count, width):
    x = features(count, width)
    y = (x[:, 0] + np.random.default_rng(1).normal(size=count) > 2).astype(int) + (x[:, 1] > 4)
    fit_on, held = np.arange(count - 20), np.arange(count - 20, count)
    fitted = fit(x, Targets("classes", y, 3), fit_on, held, accuracy_of(y[held]))
    scaled = (x - x[fit_on].mean(0)) / x[fit_on].std(0)
    stock = LogisticRegression(C=fitted.c, max_iter=5000, tol=1e-6)
    stock.fit(scaled[fit_on], y[fit_on])
    said = outputs(fitted, x)
    chance = np.exp(said - said.max(1, keepdims=True))
    chance /= chance.sum(1, keepdims=True)
    np.testing.assert_allclose(chance, stock.predict_proba(scaled), atol=2e-2)
    assert fitted.score == (said[held].argmax(1) == y[held]).mean()


def test_the_penalty_is_the_best_on_held_items():
    x = features(60, 30)
    y = np.random.default_rng(3).integers(0, 2, 60)
    asked = []

    def judge(outputs_NK):
        asked.append(float(-abs(np.abs(outputs_NK).mean() - 0.3)))
        return asked[-1]

    fitted = fit(x, Targets("classes", y, 2), np.arange(40), np.arange(40, 60), judge)
    assert fitted.score == max(asked)
    assert asked.index(max(asked)) > 0


def test_quantities_as_in_scikit_learn():
    x = features(80, 6)
    y = x @ np.arange(6.0) + np.random.default_rng(1).normal(size=80)
    fit_on, held = np.arange(60), np.arange(60, 80)
    judge = lambda o: -float(((o[:, 0] - y[held]) ** 2).mean())  # noqa: E731
    fitted = fit(x, Targets("quantity", y, 1), fit_on, held, judge, is_refitted=True)
    scaled = (x - x[fit_on].mean(0)) / x[fit_on].std(0)
    stock = Ridge(alpha=1 / fitted.c).fit(scaled, y)
    np.testing.assert_allclose(outputs(fitted, x)[:, 0], stock.predict(scaled), rtol=1e-6)


def test_labels_one_by_one_and_one_that_nothing_has():
    x = features(100, 5)
    y = np.stack([x[:, 0] > 2, x[:, 1] > 3, np.zeros(100, bool)], axis=1)
    fit_on, held = np.arange(80), np.arange(80, 100)
    judge = lambda o: float(((o > 0) == y[held]).mean())  # noqa: E731
    fitted = fit(x, Targets("labels", y, 3), fit_on, held, judge)
    assert fitted.score > 0.95
    assert (outputs(fitted, x)[:, 2] < -4).all()
    scaled = (x - x[fit_on].mean(0)) / x[fit_on].std(0)
    stock = LogisticRegression(C=fitted.c, max_iter=5000).fit(scaled[fit_on], y[fit_on, 0])
    expected = stock.decision_function(scaled)
    np.testing.assert_allclose(outputs(fitted, x)[:, 0], expected, rtol=2e-2, atol=5e-2)


def test_a_tag_that_training_lacks_is_no_class_of_the_likelihood():
    x, y = features(80, 4), np.arange(80) % 2
    x[:, 0] += 4 * y
    fit_on, held = np.arange(60), np.arange(60, 80)
    without = y.copy()
    without[held[::2]] = -100  # as `Examples.of` marks what training does not have
    found = fit(x, Targets("classes", without, 2), fit_on, held, accuracy_of(without[held]))
    known = held[1::2]
    alone = fit(x, Targets("classes", y, 2), fit_on, known, accuracy_of(y[known]))
    assert found.c == alone.c
    np.testing.assert_array_equal(found.weight_KF, alone.weight_KF)


def test_where_all_are_right_the_shares_say_so():
    """A strong penalty gives every item the right class and hardly more than chance."""
    x, y = features(80, 4), np.arange(80) % 2
    x[:, 0] += 40 * y
    fit_on, held = np.arange(60), np.arange(60, 80)
    fitted = fit(x, Targets("classes", y, 2), fit_on, held, accuracy_of(y[held]))
    margin = np.diff(outputs(fitted, x[held]), axis=1)[:, 0] * (2 * y[held] - 1)
    assert fitted.score == 1
    assert margin.min() > 3


def test_rounding_of_a_constant_feature_is_not_enlarged():
    rounding = np.random.default_rng(0).integers(0, 2, 60) * float(np.spacing(np.float32(40))) / 2
    plain = np.column_stack([features(60, 4), np.full(60, 40.0)])
    noisy = np.column_stack([features(60, 4), 40.0 + rounding])
    y, fit_on, held = np.arange(60) % 2, np.arange(40), np.arange(40, 60)
    judge = accuracy_of(y[held])
    of_plain, of_noisy = (
        fit(x, Targets("classes", y, 2), fit_on, held, judge) for x in (plain, noisy)
    )
    np.testing.assert_allclose(outputs(of_noisy, noisy), outputs(of_plain, plain), atol=1e-4)
