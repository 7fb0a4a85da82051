"""The multi-label probe against scikit-learn and against labels that are planted."""

from typing import Any

import numpy as np
import pytest
from made_up_cards import Rows, score
from planted_models import Planted
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from tgp_multimodal.evaluation.protocols.multi_label import any_of_group, macro_f1, micro_f1

NAMES = ["death", "growth", "spread"]


def states(text: str) -> np.ndarray:
    """Labels are in the text, and in its vector with noise."""
    number = int(text.split()[0])
    noise = np.random.default_rng(number).normal(size=6)
    return np.concatenate([[float(n in text) for n in NAMES], np.zeros(3)]) + 0.5 * noise


def items(start: int, count: int) -> list[dict[str, Any]]:
    made = []
    for number in range(start, start + count):
        rng = np.random.default_rng([7, number])
        labels = [n for n in NAMES if rng.random() < 0.3]
        row = {"item": " ".join([str(number), *labels]), "labels": labels}
        made.append(row | {"group": f"document {number // 4}"})
    return made


ROWS: Rows = {"train": items(0, 120), "validation": items(120, 40), "test": items(160, 80)}
MODEL = Planted(embed=lambda r: states(r.item))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    return lambda rows, model, **said: score(monkeypatch, "multi_label", rows, model, **said)


def table(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array([[name in row["labels"] for name in NAMES] for row in rows])


def test_labels_are_those_of_scikit_learns_one_against_the_rest(run: Any) -> None:
    found = run(ROWS, MODEL)
    train, known, test = (
        np.stack([states(r["item"]) for r in rows])
        for rows in (ROWS["train"], ROWS["train"] + ROWS["validation"], ROWS["test"])
    )
    scaler = StandardScaler().fit(train)
    planes = OneVsRestClassifier(LogisticRegression(C=found.details["c"], tol=1e-8, max_iter=999))
    planes.fit(scaler.transform(known), table(ROWS["train"] + ROWS["validation"]))
    expected = planes.predict(scaler.transform(test)).astype(bool)
    said = np.array([[name in r["prediction"] for name in NAMES] for r in found.records])
    assert (said == expected).mean() > 0.995
    true = table(ROWS["test"])
    assert found.details["micro_f1"] == pytest.approx(f1_score(true, said, average="micro"))
    assert found.details["macro_f1"] == pytest.approx(f1_score(true, said, average="macro"))
    each = f1_score(true, said, average=None)
    assert list(found.details["labels"].values()) == pytest.approx(each.tolist())
    assert 0.5 < found.value < 1
    assert found.interval.low < found.value < found.interval.high


def test_c_is_the_one_that_validation_likes_best(run: Any) -> None:
    details = run(ROWS, MODEL).details
    scores = details["validation_micro_f1"]
    assert f"{details['c']:g}" == max(scores, key=lambda c: scores[c])
    assert details["validation"] == 40


def test_the_view_that_is_best_on_validation_is_read(run: Any) -> None:
    class Three(Planted):
        def views(self, modality: str) -> tuple[str, ...]:
            return ("noise", "good", "worse")

    def seen(request: Any) -> np.ndarray:
        number = int(request.item.split()[0])
        noise = np.random.default_rng([3, number]).normal(size=6)
        share = {"noise": 0.0, "good": 1.0, "worse": 0.3}[request.view]
        return share * states(request.item) + (1 - share) * noise

    found = run(ROWS, Three(embed=seen))
    finals = found.details["finals"]
    assert found.details["view"] == "good" == max(finals, key=lambda view: finals[view])
    assert finals["good"] == max(found.details["validation_micro_f1"].values())
    assert found.value == run(ROWS, MODEL).value  # as if there were no other


def test_a_fifth_of_train_is_one_of_its_documents(run: Any) -> None:
    train = [row | {"group": f"document {i // 40}"} for i, row in enumerate(ROWS["train"])]
    details = run({**ROWS, "train": train, "validation": []}, MODEL).details
    assert (details["train"], details["validation"]) == (80, 40)


def test_a_group_has_what_one_of_its_items_has(run: Any) -> None:
    found = run(ROWS, MODEL, metric="group_micro_f1")
    items_alone = run(ROWS, MODEL)
    said, true = (
        {
            (number // 4, label)
            for number, record in enumerate(items_alone.records)
            for label in record[side]
        }
        for side in ("prediction", "target")
    )
    expected = 2 * len(said & true) / (len(said) + len(true))
    assert found.value == pytest.approx(expected)
    assert items_alone.details["group_micro_f1"] == pytest.approx(expected)
    assert len(found.records) == found.details["groups"] == 20
    assert len(items_alone.records) == 80


def test_a_label_that_training_never_shows_is_never_said(run: Any) -> None:
    rows = {**ROWS, "test": [*ROWS["test"], {**ROWS["test"][0], "labels": ["new"]}]}
    found = run(rows, MODEL)
    assert found.details["labels"]["new"] == 0
    assert all("new" not in r["prediction"] for r in found.records)


def test_nothing_said_is_an_interval_that_does_not_collapse(run: Any) -> None:
    rows = {**ROWS, "train": [{**r, "labels": []} for r in ROWS["train"]], "validation": []}
    found = run(rows, MODEL)
    assert found.value == found.interval.low == 0
    assert 0 < found.interval.high < 0.3


def test_numbers_of_a_table_by_hand() -> None:
    said = np.array([[1, 0], [1, 0], [0, 0]], dtype=bool)
    true = np.array([[1, 1], [0, 0], [0, 0]], dtype=bool)
    assert micro_f1(said, true) == 0.5
    assert macro_f1(said, true) == pytest.approx((2 / 3 + 0) / 2)
    assert micro_f1(said & False, true & False) == 0
    assert any_of_group(said, ["b", "a", "b"]).tolist() == [[True, False], [True, False]]
    assert any_of_group(true, ["b", "a", "b"]).tolist() == [[False, False], [True, True]]


def test_items_without_any_label_are_refused(run: Any) -> None:
    rows = {part: [{**row, "labels": []} for row in some] for part, some in ROWS.items()}
    with pytest.raises(ValueError, match=r"labels of .* must hold one in some item\. Got none"):
        run(rows, MODEL)


def test_one_training_item_without_a_validation_split_is_refused(run: Any) -> None:
    rows = {"train": ROWS["train"][:1], "test": ROWS["test"]}
    with pytest.raises(ValueError, match=r"train split must hold at least two items .* Got 1"):
        run(rows, MODEL)
