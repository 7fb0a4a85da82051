"""Cells of CSV files are of one type in all files of a card."""

from pathlib import Path

import pytest

from tgp_multimodal.cli import main
from tgp_multimodal.evaluation.csv_rows import csv_rows

CARD = """
name: text/numbers
version: 1
description: Numbers as labels.
domain: text
license: CC0
citation: none
chance: 0.33
protocol: probe
metric: accuracy
source: {files: {train: train.csv, test: TEST}}
columns: {item: text, label: label}
"""


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Files whose last column would be text in the first, and numbers in the second."""
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("n,m,e,label\n1,1,,1\n2,2.5,,unknown\n")
    second.write_text("n,m,e,label,more\n7,3,x,007,1\n,4,y,2,\n")
    return first, second


def test_types_are_those_of_all_files(two: tuple[Path, Path]) -> None:
    first, second = two
    assert csv_rows(first, two) == [
        {"n": 1, "m": 1.0, "e": "", "label": "1"},
        {"n": 2, "m": 2.5, "e": "", "label": "unknown"},
    ]
    assert csv_rows(second, two) == [
        {"n": 7, "m": 3.0, "e": "x", "label": "007", "more": 1},
        {"n": None, "m": 4.0, "e": "y", "label": "2", "more": None},
    ]
    assert csv_rows(second)[0] == {"n": 7, "m": 3, "e": "x", "label": 7, "more": 1}


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(ValueError, match=r"a.csv must have a line with the names of columns"):
        csv_rows(tmp_path / "a.csv")


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    said = ["one fish", "two birds", "no idea"]
    rows = [f"{text},{label}" for text, label in zip(said, ("1", "2", "unknown"), strict=True)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows * 8]))
    (tmp_path / "test.csv").write_text("\n".join(["text,label", *rows[:2] * 4]))
    (tmp_path / "test.jsonl").write_text('{"text": "one fish", "label": 1}\n')
    return tmp_path / "card.yaml"


def test_labels_are_equal_whatever_else_their_file_holds(
    card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card.write_text(CARD.replace("TEST", "test.csv"))
    assert main(["evaluate", "tfidf", "--cards", str(card), "--results", "results"]) == 0
    out = capsys.readouterr().out
    assert "accuracy 1.0000" in out
    assert "8 of 8 test items are among those that are learned from, too" in out


def test_copies_in_validation_are_copies_of_what_was_learned(
    card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("train.csv").write_text("text,label\n" + "other fish,1\nother birds,2\n" * 8)
    Path("known.csv").write_text("text,label\none fish,1\ntwo birds,2\n")
    said = CARD.replace("TEST", "test.csv").replace("train.csv", "train.csv, validation: known.csv")
    card.write_text(said)
    assert main(["evaluate", "tfidf", "--cards", str(card), "--results", "results"]) == 0
    assert "8 of 8 test items are among those that are learned" in capsys.readouterr().out


def test_labels_of_two_kinds_are_refused(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card.write_text(CARD.replace("TEST", "test.jsonl"))
    assert main(["evaluate", "tfidf", "--cards", str(card), "--results", "results"]) != 0
    wanted = "label must be text in all splits or in none. Got numbers in test, text in train"
    assert wanted in capsys.readouterr().err


def test_labels_that_nothing_teaches_are_told(
    card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("new.csv").write_text("text,label\none fish,1\nthree cats,3\nfour cats,3\n")
    card.write_text(CARD.replace("TEST", "new.csv"))
    assert main(["evaluate", "tfidf", "--cards", str(card), "--results", "results"]) == 0
    assert "2 of 3 have labels that are not learned: 3" in capsys.readouterr().out


def test_a_positive_label_that_a_limited_run_does_not_meet_is_told(
    card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = CARD.replace("TEST", "test.csv").replace("metric: accuracy", "metric: f1")
    card.write_text(said + "settings: {positive: 9}\n")
    given = ["evaluate", "tfidf", "--cards", str(card), "--results", "results"]
    assert main([*given, "--limit", "4"]) == 0
    assert "no item has the label 9, which F1 is of" in capsys.readouterr().out
    assert main([*given, "--fresh"]) == 2


def test_a_card_with_a_mistake_is_told_before_a_model_opens(
    card: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card.write_text(CARD.replace("TEST", "test.csv").replace("label: label", "label: lable"))
    assert main(["evaluate", "hf:no/model", "--cards", str(card)]) == 2
    told = capsys.readouterr()
    assert "label must be one of the columns text, label. Got 'lable' instead" in told.err
    assert told.out == ""
