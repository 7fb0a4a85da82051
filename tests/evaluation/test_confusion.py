"""Tables of targets against predictions: parity with scikit-learn, intervals against resampling."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from tgp_multimodal.evaluation import confusion

LABELS = ["a", "b", "c", "d"]


def drawn(seed: int, count: int = 80) -> tuple[list[str], list[str]]:
    """Targets, and predictions that are right half of the time; one label is rare."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(LABELS, count, p=[0.4, 0.3, 0.28, 0.02])
    guesses = rng.choice(LABELS[:3], count)
    return targets.tolist(), np.where(rng.random(count) < 0.5, targets, guesses).tolist()


MEASURES: dict[str, tuple[confusion.Measure, Callable[[Any, Any], float]]] = {
    "macro_f1": (
        confusion.macro_f1,
        lambda t, p: f1_score(t, p, average="macro", zero_division=0),
    ),
    "matthews": (confusion.matthews, matthews_corrcoef),
    "f1": (
        confusion.f1_of(1),
        lambda t, p: f1_score(t, p, labels=["b"], average="macro", zero_division=0),
    ),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("seed", range(4))
def test_values_are_scikit_learns(name: str, seed: int) -> None:
    measure, expected = MEASURES[name]
    targets, predictions = drawn(seed)
    found = measure(confusion.table(predictions, targets, LABELS))
    assert found.shape == (1,)
    assert found[0] == pytest.approx(expected(targets, predictions))


def test_one_answer_for_all_has_no_correlation() -> None:
    table = confusion.table(["a"] * 5, ["a", "b", "a", "b", "b"], LABELS)
    assert confusion.matthews(table)[0] == 0
    assert confusion.f1_of(1)(table)[0] == 0
    assert confusion.matthews(confusion.table(["a"] * 3, ["a"] * 3, LABELS))[0] == 0


@pytest.mark.parametrize("name", MEASURES)
def test_the_interval_is_that_of_resampled_items(name: str) -> None:
    measure, expected = MEASURES[name]
    targets, predictions = (np.array(x) for x in drawn(7, 200))
    rng = np.random.default_rng(1)
    values = [expected(targets[i], predictions[i]) for i in rng.integers(0, 200, (300, 200))]
    low, high = np.quantile(values, [0.025, 0.975])
    names = [str(i) for i in range(200)]
    found = confusion.interval(measure, predictions.tolist(), targets.tolist(), LABELS, names)
    assert found == pytest.approx((low, high), abs=0.03)
    assert found.low < expected(targets, predictions) < found.high


def test_groups_widen_the_interval_and_a_seed_repeats_it() -> None:
    targets, predictions = drawn(3, 60)
    # Everything ten times over, the copies of an item in one group: no more is known than of 60.
    names = [str(i) for i in range(60)]
    once = confusion.interval(confusion.matthews, predictions, targets, LABELS, names)
    many = [predictions * 10, targets * 10, LABELS]
    grouped = confusion.interval(confusion.matthews, *many, names * 10)
    apart = confusion.interval(confusion.matthews, *many, [str(i) for i in range(600)])
    assert grouped == pytest.approx(once, abs=0.02)
    assert apart.high - apart.low < 0.5 * (grouped.high - grouped.low)
    assert grouped == confusion.interval(confusion.matthews, *many, names * 10)


def test_the_interval_holds_the_value_of_a_handful_of_items() -> None:
    for seed in range(30):
        targets, predictions = drawn(seed, 3)
        found = confusion.interval(confusion.matthews, predictions, targets, LABELS, list("xyz"))
        value = confusion.matthews(confusion.table(predictions, targets, LABELS))[0]
        assert found.low <= value <= found.high


@pytest.mark.parametrize("name", MEASURES)
def test_who_makes_no_mistake_among_few_is_not_sure(name: str) -> None:
    """Wilson's interval of 22 of 22, and the measure where so large a share is right."""
    answers, names = ["a", "b"] * 11, [str(i) for i in range(22)]
    found = confusion.interval(MEASURES[name][0], answers, answers, ["a", "b"], names)
    low = 22 / (22 + 1.96**2)
    assert found.low == pytest.approx(2 * low - 1 if name == "matthews" else low, abs=1e-4)
    assert found.high == 1
    grouped = confusion.interval(MEASURES[name][0], answers, answers, ["a", "b"], ["x", "y"] * 11)
    assert grouped.low < found.low
