"""What the cards of published text tasks ask, word for word, on rows made up in their shape."""

from dataclasses import replace
from typing import Any

import pytest
from planted_models import Planted

from tgp_multimodal.evaluation import cards, embedded_tasks
from tgp_multimodal.evaluation.engine import asker
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.protocols import PROTOCOLS
from tgp_multimodal.evaluation.requests import Embed, Generate, MaskedScore, Request, Score
from tgp_multimodal.evaluation.requests import ScoreAnswer as Answer

Row = dict[str, Any]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch):
    def requests(name: str, test: list[Row], train: list[Row] = ()) -> list[Request]:
        rows = {"test": test, "train": list(train)}
        monkeypatch.setitem(embedded_tasks.TASKS, "made_up", lambda split: rows.get(split, []))
        card = cards.find(name)
        pairs = {"pairs": card.source["pairs"]} if "pairs" in card.source else {}
        card = replace(card, source={"embedded": "made_up", **pairs})
        answer = Answer(-1.0, 1, False)
        model = Planted(score=lambda r: answer, masked_score=lambda r: answer, generate=str)
        model.supports = frozenset({Score, MaskedScore, Generate, Embed}) - {
            Score if card.protocol == "generation" else Embed
        }
        PROTOCOLS[card.protocol](Examples(card), model, asker(model))
        return model.asked

    return requests


# Card -> a row, the context, what follows it for each choice: as lm-eval builds them.
QUESTIONS: dict[str, tuple[Row, str, list[str]]] = {
    "text/arc_easy": (
        {"question": "Why is ice cold?", "choices": ["It is.", "No."], "answer": 0},
        "Question: Why is ice cold?\nAnswer:",
        [" It is.", " No."],
    ),
    "text/boolq": (
        {"passage": "Ice -- It is cold.", "question": "is ice cold", "choices": ["no", "yes"]},
        "Ice -- It is cold.\nQuestion: is ice cold?\nAnswer:",
        [" no", " yes"],
    ),
    "text/hellaswag": (
        {"context": "Skating: A man falls. He", "choices": [" gets  up. ", "flies."]},
        "Skating: A man falls. He",
        [" gets up.", " flies."],
    ),
    "text/piqa": (
        {"question": "dresser", "choices": ["use a pin ", "paint it"]},
        "Question: dresser\nAnswer:",
        [" use a pin ", " paint it"],
    ),
    "text/sciq": (
        {"support": " Ice is water. ", "question": "What is ice?", "choices": ["air", "water"]},
        "Ice is water. \nQuestion: What is ice?\nAnswer:",
        [" air", " water"],
    ),
    "text/social_iqa": (
        {"question": "Kim fell. How is Kim?", "choices": ["fine", "hurt", "tall"]},
        "Q: Kim fell. How is Kim?\nA:",
        [" fine", " hurt", " tall"],
    ),
    "text/copa": (
        {"premise": "I fell.", "asks_for": "cause", "choices": ["It was icy.", "I sang."]},
        "I fell because",
        [" it was icy.", " i sang."],
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_asked_as_lm_eval_asks_it(asked: Any, name: str) -> None:
    row, context, endings = QUESTIONS[name]
    assert asked(name, [{"answer": 0, **row}]) == [Score(context, e) for e in endings]


def test_copa_joins_an_effect_with_therefore(asked: Any) -> None:
    row = {**QUESTIONS["text/copa"][0], "asks_for": "effect", "answer": 0}
    assert asked("text/copa", [row])[0].context == "I fell therefore"


def test_winogrande_scores_what_follows_the_gap(asked: Any) -> None:
    row = {"question": "The cup beat the jug as the _ was light.", "choices": ["cup", "jug"]}
    assert asked("text/winogrande", [{**row, "answer": 0}]) == [
        Score("The cup beat the jug as the cup", " was light."),
        Score("The cup beat the jug as the jug", " was light."),
    ]


def test_mmlu_has_the_shots_of_its_subject_in_their_order(asked: Any) -> None:
    def row(subject: str, question: str, answer: int) -> Row:
        choices = [f"{question}{i}" for i in range(4)]
        return {"subject": subject, "question": question, "choices": choices, "answer": answer}

    def shown(question: str) -> str:
        lines = "".join(f"\n{'ABCD'[i]}. {question}{i}" for i in range(4))
        return f"{question}{lines}\nAnswer:"

    train = [row("us_law", f"L{i}", i % 4) for i in range(5)]
    train += [row("art", f"K{i}", 0) for i in range(5)]
    found = asked("text/mmlu_general", [row("us_law", " Q ", 2)], train[::2] + train[1::2])
    context = "The following are multiple choice questions (with answers) about us law.\n\n"
    for i in (0, 2, 4, 1, 3):
        context += f"{shown(f'L{i}')} {'ABCD'[i % 4]}\n\n"
    context += "Q" + shown(" Q ").removeprefix(" Q ")
    assert found == [Score(context, f" {letter}") for letter in "ABCD"]


def test_lambada_asks_for_the_word_behind_a_space(asked: Any) -> None:
    assert asked("text/lambada", [{"context": "She met", "target": "Shane"}]) == [
        Score("She met", " Shane")
    ]


def test_scitldr_writes_one_line_after_tldr(asked: Any) -> None:
    row = {"document": "We study ice.\n", "summaries": ["Ice."]}
    assert asked("text/scitldr", [row]) == [
        Generate("We study ice.\n\nTL;DR:", max_tokens=48, stop=("\n",))
    ]


SIDES = [
    {"type": 1, "id": 7, "polarity": "anti", "text": "The nurse said he", "entity": "The nurse"},
    {"type": 1, "id": 7, "polarity": "pro", "text": "The nurse said she", "entity": "The nurse"},
]


@pytest.mark.parametrize("name", ["text/winobias", "text/winobias_masked"])
def test_winobias_joins_the_two_sides_of_a_sentence(asked: Any, name: str) -> None:
    expected = ["The nurse said she", "The nurse said he"]
    found = asked(name, SIDES)
    assert [getattr(r, "text", None) or r.continuation for r in found] == expected
    (example,) = Examples(
        replace(
            cards.find(name),
            source={"embedded": "made_up", "pairs": cards.find(name).source["pairs"]},
        )
    ).test
    assert example.fields["category"] == "type 1"
    assert example.group == "the nurse"


@pytest.mark.parametrize("name", ["text/crows_pairs", "text/crows_pairs_masked"])
def test_crows_pairs_asks_the_stereotyping_sentence_first(asked: Any, name: str) -> None:
    row = {"sent_more": "The old are slow.", "sent_less": "The young are.", "bias_type": "age"}
    kind = MaskedScore if name.endswith("masked") else Score
    found = asked(name, [row])
    assert {type(r) for r in found} == {kind}
    assert [getattr(r, "text", None) or r.continuation for r in found] == [
        "The old are slow.",
        "The young are.",
    ]
