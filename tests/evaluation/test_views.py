"""Which of a model's views a probe reads."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from made_up_cards import Rows
from planted_models import Planted

from tgp_multimodal.evaluation.requests import Embed


def rows_of_two_classes(**more: str) -> Rows:
    """Numbers, of which every second one is of the first class."""
    return {
        split: [{"item": str(i), "label": "ab"[i % 2], **more} for i in range(start, end)]
        for split, start, end in (("train", 0, 40), ("validation", 40, 60), ("test", 60, 80))
    }


def what_good_sees(request: Embed) -> np.ndarray:
    """The class in the view "good", what says nothing of it in others."""
    number = int(str(request.item))
    return np.eye(2)[number % 2 if request.view == "good" else number // 3 % 2]


def test_a_wide_view_that_needs_many_items_is_chosen_on_all_of_them(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The narrow view is right six times in seven; the wide one names one of forty groups."""
    module = import_module("tgp_multimodal.evaluation.protocols.probe")
    monkeypatch.setattr(module, "_COMPARED", 20)
    label = {group: f"label {group * 7 % 3}" for group in range(40)}
    rows = {
        split: [{"item": f"{start + i} {(start + i) % 40}", "label": label[(start + i) % 40]}
                for i in range(count)]
        for split, start, count in (("train", 0, 400), ("validation", 400, 80), ("test", 480, 80))
    }  # fmt: skip

    def seen(request: Embed) -> np.ndarray:
        number, group = map(int, str(request.item).split())
        if request.view == "wide":
            return np.eye(40)[group]
        return np.eye(3)[(group * 7 + (number % 7 == 0)) % 3]

    class Sizes(Planted):
        def views(self, modality: str) -> tuple[str, ...]:
            return ("narrow", "wide")

    found = run("probe", rows, Sizes(embed=seen))
    assert found.details["views"]["narrow"] > found.details["views"]["wide"]
    assert found.details["finals"]["wide"] == 1 > found.details["finals"]["narrow"]
    assert (found.details["view"], found.value) == ("wide", 1.0)


def test_views_are_compared_on_items_of_all_classes_whatever_their_order(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second item is of one class: of every second item alone all views look alike."""
    module = import_module("tgp_multimodal.evaluation.protocols.probe")
    monkeypatch.setattr(module, "_COMPARED", 20)

    class Two(Planted):
        def views(self, modality: str) -> tuple[str, ...]:
            return ("bad", "good")

    found = run("probe", rows_of_two_classes(), Two(embed=what_good_sees)).details
    assert found["view"] == "good"


def test_a_narrow_view_that_loses_on_few_items_is_left_out(run: Any) -> None:
    """Few items favour it, so on more of them it would lose by more."""

    class Three(Planted):
        def views(self, modality: str) -> tuple[str, ...]:
            return ("good", "narrow", "wide")

    def wider(request: Embed) -> np.ndarray:
        vector = what_good_sees(request)
        return vector if request.view == "narrow" else np.pad(vector, (0, 3))

    found = run("probe", rows_of_two_classes(), Three(embed=wider)).details
    assert found["views"]["narrow"] < found["views"]["good"] == 1
    assert found["view"] == "good"
    assert "finals" not in found


def test_of_pairs_the_usual_view_is_read(run: Any) -> None:
    asked = set[str]()

    def seen(request: Embed) -> np.ndarray:
        asked.add(request.view)
        return np.eye(2)[int(str(request.item)) % 2] if request.item != "x" else np.zeros(2)

    class Two(Planted):
        def views(self, modality: str) -> tuple[str, ...]:
            return ("", "wide")

    rows = rows_of_two_classes(second="x")
    assert run("probe", rows, Two(embed=seen)).value == 1
    assert asked == {""}
