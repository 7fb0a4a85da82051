"""Minimal pairs with planted scores: oracle, ties, means over paradigms, both ways to score."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from planted_models import Planted, dummy

from tgp_multimodal.adapters import make
from tgp_multimodal.evaluation import card_protocols, cards, embedded_tasks, engine
from tgp_multimodal.evaluation.asking import asker
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.leaderboard_items import _items
from tgp_multimodal.evaluation.outcome import Outcome
from tgp_multimodal.evaluation.protocols import PROTOCOLS
from tgp_multimodal.evaluation.requests import MaskedScore, Score, ScoreAnswer

FIELDS = ("good", "bad", "paradigm", "phenomenon")
# Three pairs of one paradigm and one of each of two others, which share a phenomenon.
PAIRS = [
    ("1 good", "1 bad", "p", "x"),
    ("2 good", "2 bad", "p", "x"),
    ("3 good", "3 bad", "p", "x"),
    ("4 good", "4 bad", "q", "y"),
    ("5 good", "5 bad", "r", "y"),
]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    rows = [dict(zip(FIELDS, pair, strict=True)) for pair in PAIRS]
    monkeypatch.setitem(
        embedded_tasks.TASKS, "made_up", lambda split: rows if split == "test" else []
    )

    def scored(prefer: Any, scoring: str = "causal") -> Outcome:
        def answer(request: Any) -> ScoreAnswer:
            sentence = getattr(request, "text", None) or request.continuation
            return ScoreAnswer(float(prefer(sentence)), 1, False)

        columns = {name: name for name in FIELDS}
        fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "made_up"}, "minimal_pairs")
        card = Card(*fixed, "accuracy", 0.5, columns, settings={"scoring": scoring})
        model = Planted(score=answer, masked_score=answer)
        found = PROTOCOLS[card.protocol](Examples(card), model, asker(model))
        found.details["asked"] = model.asked
        return found

    return scored


@pytest.mark.parametrize("scoring", card_protocols.SCORINGS)
def test_oracle_and_anti_oracle(run: Any, scoring: str) -> None:
    right = run(lambda s: -1 - ("bad" in s), scoring)
    wrong = run(lambda s: -1 - ("good" in s), scoring)
    assert (right.value, wrong.value) == (1.0, 0.0)
    assert right.details["accuracy"] == 1
    assert right.details["ties"] == 0
    assert all(r["prediction"] == r["target"] for r in right.records)
    assert wrong.records[3]["prediction"] == "4 bad"
    assert right.records[0]["nats"] == [-1.0, -2.0]


def cost(sentence: str) -> float:
    return -float(len(sentence))


def test_whole_sentences_are_asked_for_in_the_way_of_the_setting(run: Any) -> None:
    assert run(cost, "causal").details["asked"][:2] == [Score("", "1 good"), Score("", "1 bad")]
    masked = run(cost, "masked").details["asked"]
    assert masked[:2] == [MaskedScore("1 good"), MaskedScore("1 bad")]
    assert len(masked) == 10


def test_ties_count_half(run: Any) -> None:
    found = run(lambda s: -3.0)
    assert found.value == 0.5
    assert found.details["ties"] == 5
    assert {r["score"] for r in found.records} == {0.5}
    assert found.records[0]["prediction"] == "a tie"
    # One tie, one right, one wrong in p; q right; r wrong.
    nats = {"1 good": 1, "1 bad": 1, "2 good": 2, "3 bad": 2, "4 good": 1, "5 bad": 1}
    found = run(lambda s: nats.get(s, 0) - 2.0)
    assert [r["score"] for r in found.records] == [0.5, 1, 0, 1, 0]
    assert found.details["ties"] == 1


def test_the_value_is_the_mean_over_paradigms_and_not_over_pairs(run: Any) -> None:
    found = run(lambda s: -1 - (("bad" in s) == (s[0] in "124")))  # right in 1, 2 and 4
    assert found.details["paradigms"] == {"p": pytest.approx(2 / 3), "q": 1, "r": 0}
    assert found.value == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.details["phenomena"]["x"] == {"value": pytest.approx(2 / 3), "n": 3}
    assert found.details["phenomena"]["y"] == {"value": 0.5, "n": 2}
    assert found.interval.low <= found.value <= found.interval.high
    assert found.interval == pytest.approx((0, 1))  # three paradigms say little of others


def test_the_leaderboard_finds_the_same_value_and_the_same_groups(run: Any) -> None:
    found = run(lambda s: -1 - (("bad" in s) == (s[0] in "124")))
    items = _items(found.records)
    assert items.explain(found.value)
    assert len(set(items.group_N)) == 3


def test_baselines_say_that_they_cannot() -> None:
    for model in ("majority", "tfidf", "pixels", "xz"):
        for name in ("text/blimp", "text/blimp_masked"):
            assert make(model).can(cards.find(name)), (model, name)
    only_causal = Planted(score=lambda r: ScoreAnswer(-1.0, 1, False))
    assert only_causal.can(cards.find("text/blimp")) is None
    assert (
        only_causal.can(cards.find("text/blimp_masked"))
        == "cannot score a text by its masked tokens (MaskedScore)"
    )


def test_without_data_the_cards_are_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TGP_DATA", raising=False)
    for name in ("text/blimp", "text/blimp_masked"):
        with pytest.raises(ValueError, match=r"TGP_DATA must name the folder that holds text/b"):
            engine.evaluate(dummy(), [cards.find(name)], tmp_path)


@pytest.mark.shared_data
@pytest.mark.skipif(not os.environ.get("TGP_DATA"), reason="needs $TGP_DATA")
def test_blimp_has_its_67_paradigms_and_12_phenomena() -> None:
    test = Examples(cards.find("text/blimp")).test
    of = {e.fields["paradigm"]: e.fields["phenomenon"] for e in test}
    assert len(of) == 67
    assert len(set(of.values())) == 12
    assert Counter(of.values())["argument_structure"] == 9
    assert set(Counter(e.fields["paradigm"] for e in test).values()) == {100}
