"""The list of what there is to be measured: every card, every suite, and where data are."""

from dataclasses import replace
from pathlib import Path

import pytest

from tgp_multimodal.evaluation import card_list, cards
from tgp_multimodal.evaluation.card_list import EMBEDDED, MISSING

DIGITS = cards.find("image/digits")


def of(source: dict[str, object]) -> str:
    return card_list.whereabouts(replace(DIGITS, source=source))


def test_suites_are_those_that_load() -> None:
    found = {suite.name: suite for suite in card_list.suites()}
    assert list(found) == cards.suites()
    for name in ("bias", "embedded"):
        assert list(found[name].cards) == [card.name for card in cards.suite(name)]
        assert found[name].description
    assert list(found["all"].cards) == cards.names()


def test_a_line_names_the_suites_of_a_card() -> None:
    first, second = card_list.lines([DIGITS, cards.find("text/winobias")])
    assert first == (DIGITS, EMBEDDED, ("core", "embedded", "image"))
    assert second.suites == ("bias",)


def test_data_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"folder": "text/mine"}
    monkeypatch.delenv("TGP_DATA", raising=False)
    assert of(source) == MISSING
    monkeypatch.setenv("TGP_DATA", str(tmp_path))
    assert of(source) == MISSING
    (tmp_path / "text/mine").mkdir(parents=True)
    assert of(source) == MISSING
    (tmp_path / "text/mine/test.parquet").touch()
    assert of(source) == "found in $TGP_DATA"
    renamed = source | {"splits": {"test": "dev"}}
    assert of(renamed) == MISSING
    (tmp_path / "text/mine/dev.parquet").touch()
    assert of(renamed) == "found in $TGP_DATA"


def test_data_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    assert of({"files": {"test": str(path)}}) == MISSING
    path.touch()
    assert of({"files": {"test": str(path)}}) == "found"
    assert of({"prepared": str(tmp_path)}) == "found"
    assert of({"hub": "owner/name"}) == "on the hub, owner/name"
    assert of({"embedded": "nothing of that name"}) == MISSING
