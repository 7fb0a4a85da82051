"""The report: everything in one page, nothing from elsewhere, hostile text stays text."""

import numpy as np
import pytest

from tgp_multimodal.evaluation.task_report import render

BAD = "<script>alert(1)</script>"


def report(kind, labels, **more):
    score = {"value": 0.75, "low": 0.7, "high": 0.8}
    settings = {"method": "full", "rate": None}
    row = {"step": 0, "metric": 0.5, "train_loss": None, "validation_loss": 1.0}
    return {
        "task": BAD,
        "kind": kind,
        "labels": labels,
        "metric": "accuracy",
        "items": {"train": 1000, "validation": 2, "test": 3},
        "bad_rows": 0,
        "copies_in_training": {"validation": 0, "test": 1},
        "test": {"accuracy": score, "root_mean_square_error": score},
        "settings": settings,
        "facts": {"trained_parameters": 5, "parameters": 10, "rate": 1e-3, "steps": 10},
        "history": [row, row | {"step": 5, "train_loss": 0.7, "metric": 0.6}],
        "best": 1,
        "base": {"base": "runs/x", "base_weights": "abcdef", "method": "full"},
    } | more


def answer(label, predicted, probability=0.5, text="a text"):
    return {
        "item": "1",
        "text": text,
        "label": label,
        "predicted": predicted,
        "probability": probability,
    }


CALIBRATION = {
    "error": 0.1,
    "bins": [{"confidence": 0.55, "accuracy": 0.5, "interval": [0.4, 0.6], "items": 7}],
}


def test_classes():
    rows = [
        answer("a", "a"),
        answer("a", BAD, 0.612, BAD),
        answer("b", "a", 0.99, "the surest mistake"),
    ]
    page = render(report("classification", ["a", "b"], calibration=CALIBRATION), rows)
    assert BAD not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3
    assert page.count("<svg") == 4
    assert "a said to be a: 1" in page
    assert "b said to be a: 1" in page
    assert page.index("the surest mistake") < page.index("0.612")
    assert "1,000 to learn from" in page
    assert "5 of 10 (50.00 %)" in page


def test_a_matrix_of_many_classes_shows_those_with_mistakes():
    labels = [f"label {i}" for i in range(30)]
    rows = [answer(n, n) for n in labels] + [answer("label 28", "label 29")]
    page = render(report("classification", labels), rows)
    assert "label 28 said to be label 29: 1" in page
    assert "The 6 labels with the fewest mistakes are left out." in page


@pytest.mark.parametrize(
    ("kind", "labels", "rows", "svgs"),
    [
        ("regression", [], [answer(1.0, 1.5, None), answer(2.0, 2.0, None)], 3),
        ("multi_label", ["a", "b"], [answer(["a"], ["a", "b"]), answer([], [])], 3),
        ("tagging", ["O", "B-x"], [answer(["O", "B-x"], ["B-x", "O"], 0.5, ["two", "words"])], 4),
    ],
)
def test_other_kinds(kind, labels, rows, svgs):
    more = {} if kind == "regression" else {"calibration": CALIBRATION}
    page = render(report(kind, labels, **more), rows)
    assert page.count("<svg") == svgs
    for word in ("http://", "https://", "src=", "<script"):
        assert word not in page
    assert "NaN" not in page
    assert "None." not in page  # each has a mistake, also where the same tags stand elsewhere
    assert np.char.count(page, "</html>") == 1
