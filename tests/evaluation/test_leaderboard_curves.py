import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import HOSTILE, write_one

from tgp_multimodal.evaluation import results
from tgp_multimodal.evaluation.leaderboard import build
from tgp_multimodal.evaluation.leaderboard_curves import of_columns
from tgp_multimodal.evaluation.leaderboard_page import render

COUNTS = ("1", "5", "all")


def write_curve(root: Path, model: str, card: str, values: list[float], **said: Any) -> None:
    curve = {
        c: {"labels": 8, "value": v, "low": v - 0.05, "high": v + 0.05}
        for c, v in zip(COUNTS, values, strict=True)
    }
    file = write_one(root, model, card, 0.5)
    plain, records = results.read(file), results.read_records(file)
    for path in (file, file.with_suffix(".jsonl")):
        path.unlink()
    changes = {"card": f"{card}_curve", "protocol": "few_labels", "metric": "curve_accuracy"}
    changes |= {"details": {"curve": curve}, **said}
    results.write(root, replace(plain, **changes), records)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_curve(tmp_path, "one", "text/pydoc_package", [0.3, 0.5, 0.7])
    write_curve(tmp_path, HOSTILE, "text/pydoc_package", [0.2, 0.4, 0.9])
    return tmp_path


def test_points_are_where_their_numbers_say(root: Path) -> None:
    board = build(root)
    found = of_columns(board.columns, ["one"])
    assert found is not None
    (course,) = re.findall(r'<polyline class="course line0" points="([^"]*)"', found["wide"])
    points = [tuple(map(float, p.split(","))) for p in course.split(" ")]
    xs, ys = zip(*points, strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)  # 1, 5, and "all" one step on
    # The same steps of the score are the same steps on the page, upwards.
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[1]
    assert found["partial"] == []


def test_a_mean_over_cards_normalises_each_and_says_who_lacks_one(root: Path) -> None:
    write_curve(root, "one", "biomedical/breast_cancer", [0.63, 0.63, 1.0], domain="text")
    board = build(root)
    found = of_columns(board.columns, ["one", HOSTILE])
    assert found is not None
    assert (found["cards"], found["partial"]) == (2, [HOSTILE])
    mean = ((0.7 - 0.17) / 0.83 + 1.0) / 2
    assert f"{mean:.3f} with all labels" in found["wide"]
    assert found["wide"].count("hollow") == 3


@pytest.mark.parametrize("is_beside_its_card", [False, True])
def test_of_the_columns_of_a_card_the_first_is_drawn(root: Path, is_beside_its_card: bool) -> None:
    limited = {"limit": 100, "data_digest": "other"}
    write_curve(root, "two", "text/pydoc_package", [0.6, 0.7, 0.8], **limited)
    if is_beside_its_card:  # then no column of the curve is one that means use
        write_one(root, "one", "text/pydoc_package", 0.5)
    board = build(root)
    columns = [c for c in board.columns if c.best.protocol == "few_labels"]
    assert [c.best.limit for c in columns] == [None, 100]
    found = of_columns(board.in_domain("text"), ["one", "two"])
    assert found is not None
    assert (found["cards"], found["models"], found["partial"]) == (1, ["one"], [])
    (second,) = (c for c in columns if c.best.limit)
    own = of_columns([second], ["one", "two"])
    assert own is not None
    assert own["models"] == ["two"]


@pytest.mark.parametrize("value", [1e308, -1e308, 1e200])
def test_a_curve_through_what_cannot_be_computed_with_draws_nothing(
    tmp_path: Path, value: float
) -> None:
    details = {"curve": {"1": {"value": value, "low": -1e308, "high": 1e308}}}
    write_curve(tmp_path, "one", "text/pydoc_package", [0.3, 0.5, 0.7], details=details)
    assert "Score and labels" not in render(build(tmp_path), "")


def test_the_page_holds_the_curve_and_stays_text(root: Path) -> None:
    page = render(build(root), "")
    assert page.count("Score against labels per class") == 3  # of the domain twice, of the card
    assert HOSTILE not in page


def test_more_than_eight_models_are_named_and_not_drawn(tmp_path: Path) -> None:
    for number in range(10):
        write_curve(tmp_path, f"m{number}", "text/pydoc_package", [0.3, 0.5, 0.7])
    board = build(tmp_path)
    found = of_columns(board.columns, [f"m{i}" for i in range(10)])
    assert found is not None
    assert found["left_out"] == "m8, m9"
    assert len(found["models"]) == 8


def test_files_without_a_sound_curve_draw_nothing(tmp_path: Path) -> None:
    write_curve(tmp_path, "one", "text/pydoc_package", [0.3, 0.5, 0.7], details={"curve": {"1": 3}})
    write_one(tmp_path, "one", "image/digits", 0.5)
    board = build(tmp_path)
    assert of_columns(board.columns, ["one"]) is None
    assert "Score and labels" not in render(board, "")


@pytest.mark.parametrize("count", ["abc", "0"])
def test_a_curve_over_what_is_no_count_draws_nothing(tmp_path: Path, count: str) -> None:
    point = {"value": 0.5, "low": 0.4, "high": 0.6}
    details = {"curve": {count: point}}
    write_curve(tmp_path, "one", "text/pydoc_package", [0.3, 0.5, 0.7], details=details)
    assert of_columns(build(tmp_path).columns, ["one"]) is None


def test_a_curve_of_a_name_of_its_own_counts(tmp_path: Path) -> None:
    said = {"protocol": "few_labels", "metric": "curve_accuracy"}
    write_one(tmp_path, "one", "text/pydoc_package", 0.5, **said)
    assert build(tmp_path).mean("one").count == 1


def test_a_curve_beside_its_card_does_not_count_twice(root: Path) -> None:
    assert build(root).mean("one").count == 1
    write_one(root, "one", "text/pydoc_package", 0.5)
    board = build(root)
    assert [c.best.card for c in board.columns if c.counts] == ["text/pydoc_package"]


def test_models_are_told_apart_by_intervals_that_hold_the_draws(tmp_path: Path) -> None:
    """By its items alone the better one would be better for sure."""
    said = {"protocol": "few_labels", "metric": "curve_accuracy", "low": 0.1, "high": 0.95}
    for model, skill in (("lucky", 0.7), ("unlucky", 0.3)):
        write_one(tmp_path, model, "code/infilling", skill, **said)
    (column,) = build(tmp_path).columns
    assert column.tests == ["95 % intervals"]
    assert column.group == {"lucky": 1, "unlucky": 1}
