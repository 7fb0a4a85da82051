"""The probe against scikit-learn, step by step: scaling, the sweep over C, the last fit."""

from typing import Any

import numpy as np
import pytest
from made_up_cards import Rows, score
from planted_models import Planted, hashed
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from tgp_multimodal.evaluation.examples import Example
from tgp_multimodal.evaluation.logistic import rotate, solve
from tgp_multimodal.evaluation.protocols.probe import DECADES, LabelledItems, held_back, sweep
from tgp_multimodal.evaluation.requests import Embed

KINDS = ("ant", "bee", "cat")


def vector(request: Embed) -> np.ndarray:
    """The kind under noise, on axes of different lengths."""
    signal = np.zeros(12)
    signal[KINDS.index(str(request.item).split(" ")[-1])] = 1.5
    return (signal + hashed(request, 12)) * np.logspace(0, -2, 12)


def items(split: str, count: int) -> list[dict[str, Any]]:
    return [{"item": f"{split} {i} {KINDS[i % 3]}", "label": KINDS[i % 3]} for i in range(count)]


ROWS: Rows = {
    "train": items("train", 150),
    "validation": items("validation", 60),
    "test": items("test", 90),
}


def features(split: str) -> tuple[np.ndarray, list[str]]:
    rows = ROWS[split]
    return np.stack([vector(Embed(r["item"])) for r in rows]), [r["label"] for r in rows]


def plane(c: float) -> LogisticRegression:
    return LogisticRegression(C=c, tol=1e-9, max_iter=20_000)


def test_every_c_and_the_last_fit_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    found = score(monkeypatch, "probe", ROWS, Planted(embed=vector))
    (train, known), (held, told), (test, target) = map(features, ("train", "validation", "test"))
    scaler = StandardScaler().fit(train)
    for c, accuracy in found.details["validation_accuracy"].items():
        model = plane(float(c)).fit(scaler.transform(train), known)
        # C is chosen at a looser tolerance: an item on the border may fall to the other side.
        assert accuracy == pytest.approx(model.score(scaler.transform(held), told), abs=1.01 / 60)
    model = plane(found.details["c"])
    model.fit(scaler.transform(np.vstack([train, held])), known + told)
    assert [r["prediction"] for r in found.records] == model.predict(
        scaler.transform(test)
    ).tolist()
    assert found.value == pytest.approx(model.score(scaler.transform(test), target))


@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0, 100.0])
def test_the_objective_is_scikit_learns(c: float) -> None:
    matrix, labels = features("train")
    matrix = StandardScaler().fit_transform(matrix)
    number_N = np.array([KINDS.index(label) for label in labels])
    axes = rotate(matrix, len(matrix))
    found = solve(axes.at_NR, axes.squares_R, number_N, 3, c, tolerance=1e-6, steps=5000)
    model = plane(c).fit(matrix, number_N)

    def objective(at_ND: np.ndarray, weight_DK: np.ndarray, bias_K: np.ndarray) -> float:
        log_p_NK = log_softmax(at_ND @ weight_DK + bias_K, axis=1)
        return float((weight_DK**2).sum() / 2 - c * log_p_NK[range(len(at_ND)), number_N].sum())

    own = objective(np.asarray(axes.at_NR), found.weight_RK, found.bias_K)
    assert own == pytest.approx(objective(matrix, model.coef_.T, model.intercept_), rel=1e-6)


def test_a_few_items_of_many_classes_need_no_validation_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten items of five kinds: a fifth is two, which cannot hold all of the kinds."""
    rows = [{"item": f"{i} {KINDS[i % 3]}", "label": i % 5} for i in range(10)]
    found = score(
        monkeypatch, "probe", {"train": rows, "test": ROWS["test"][:3]}, Planted(embed=vector)
    )
    assert len(found.records) == 3


def labelled(groups: list[str]) -> list[Example]:
    rows = [{"item": f"{i}", "label": KINDS[i % 3]} for i in range(len(groups))]
    return [Example(f"train-{i}", row, groups[i]) for i, row in enumerate(rows)]


def test_a_fifth_of_train_is_held_back_in_whole_groups() -> None:
    train = labelled([f"document {i // 6}" for i in range(60)])
    known = LabelledItems.of(train, [])
    fit_on, held = (
        {train[i].group for i in places} for places in (known.train_index, known.held_out)
    )
    assert len(known.held_out) == 12
    assert sorted({*known.train_index.tolist(), *known.held_out.tolist()}) == list(range(60))
    assert not fit_on & held


@pytest.mark.parametrize("groups", [[f"train-{i}" for i in range(60)], ["the only one"] * 60])
def test_a_fifth_without_groups_is_scikit_learns(groups: list[str]) -> None:
    class_N = np.arange(60) % 3
    for classes in (None, class_N):
        expected = train_test_split(np.arange(60), test_size=0.2, random_state=0, stratify=classes)
        for own, other in zip(held_back(labelled(groups), classes), expected, strict=True):
            assert own.tolist() == other.tolist()
    assert LabelledItems.of(labelled(groups), []).held_out.tolist() == expected[1].tolist()


def swept(features_ND: np.ndarray, label_N: np.ndarray, train: int) -> dict[str, float]:
    axes = rotate(features_ND, len(features_ND))
    places = np.arange(len(label_N))
    return sweep(axes, label_N, places[:train], places[train:]).validation_accuracy


def test_a_sweep_goes_on_while_nothing_is_learned_yet() -> None:
    """Features this small say nothing at the first C: one answer to all for several decades."""
    label_N = np.arange(300) % 4 // 2  # two classes
    label_N[::3] = 1  # one of which is the usual answer
    rng = np.random.default_rng(0)
    small = 1e-2 * (np.eye(2)[label_N] + 0.1 * rng.standard_normal((300, 2)))
    tried = swept(small, label_N, 200)
    assert len(set(list(tried.values())[:5])) == 1
    assert max(tried.values()) == 1


def test_a_sweep_ends_where_training_items_are_only_learned_by_heart() -> None:
    rng = np.random.default_rng(1)
    label_N = rng.integers(0, 2, 900)
    noise = rng.standard_normal((900, 200))
    noise[:, 0] += label_N  # all that can be known
    tried = list(swept(noise, label_N, 600).values())
    best = tried.index(max(tried))
    assert best + 3 <= len(tried) <= best + 4 < len(DECADES)
