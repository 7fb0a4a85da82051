import hashlib
import random

import pytest

from tgp_multimodal.evaluation import examples, fewshot
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Example
from tgp_multimodal.evaluation.fewshot import Pool, same_topic, shots, solved_example


def item(prompt: str, answer: int = 0) -> Example:
    fields = {"prompt": prompt, "choices": ["no", "yes"], "answer": answer}
    return Example(f"id of {prompt}", fields, prompt)


POOL = [item(f"question {i}", int(i % 4 == 0)) for i in range(40)]
SOLVED = Pool.of(POOL)


def prompts(found: list[Example]) -> list[str]:
    return [e.fields["prompt"] for e in found]


@pytest.mark.parametrize("sampling", ["per_item", "fixed"])
def test_shots_depend_on_seed_and_item_and_not_on_the_pools_order(sampling: str) -> None:
    mixed = random.Random(1).sample(POOL, len(POOL))
    first = shots(SOLVED, item("mine"), 5, 7, sampling)
    assert shots(Pool.of(mixed), item("mine"), 5, 7, sampling) == first
    assert len(set(prompts(first))) == 5
    assert shots(SOLVED, item("mine"), 5, 8, sampling) != first


def test_per_item_differs_between_items_and_fixed_does_not() -> None:
    of_one, of_other = (shots(SOLVED, item(x), 5, 7) for x in ("one", "other"))
    assert of_one != of_other
    of_one, of_other = (shots(SOLVED, item(x), 5, 7, "fixed") for x in ("one", "other"))
    assert of_one == of_other


@pytest.mark.parametrize("sampling", ["per_item", "fixed"])
def test_an_item_never_meets_itself_or_its_double(sampling: str) -> None:
    double = "  QUESTION\n3 "
    for asked in (*POOL, item(double, 1)):
        met = "".join(prompts(shots(SOLVED, asked, len(POOL) - 1, 0, sampling))).lower()
        squeezed = "".join(asked.fields["prompt"].lower().split())
        assert squeezed not in [
            "".join(p.lower().split())
            for p in prompts(shots(SOLVED, asked, len(POOL) - 1, 0, sampling))
        ]
        assert met


def test_the_double_alone_is_replaced_in_fixed_shots() -> None:
    usual = shots(SOLVED, item("mine"), 5, 7, "fixed")
    other = shots(SOLVED, usual[2], 5, 7, "fixed")
    assert usual[2] not in other
    assert len(set(prompts(usual)) & set(prompts(other))) == 4


@pytest.mark.parametrize("sampling", fewshot.SAMPLING)
def test_an_item_never_meets_its_group(sampling: str) -> None:
    asked = item("mine")._replace(group=POOL[0].group)
    with pytest.raises(ValueError, match="shots must be at most 39"):
        shots(SOLVED, asked, len(POOL), 0, sampling)
    assert POOL[0] not in shots(SOLVED, asked, len(POOL) - 1, 0, sampling)


def test_balanced_shots_take_answers_in_turn() -> None:
    for name in ("a", "b", "c"):
        answers = [e.fields["answer"] for e in shots(SOLVED, item(name), 6, 3, balanced=True)]
        assert sorted(answers) == [0, 0, 0, 1, 1, 1]


def test_the_first_shots_are_the_first_of_the_pool_but_for_the_double() -> None:
    assert shots(SOLVED, item("mine"), 3, 7, "first") == POOL[:3]
    assert shots(SOLVED, POOL[1], 3, 7, "first") == [POOL[0], POOL[2], POOL[3]]


def test_shots_are_on_the_items_topic_where_it_has_one() -> None:
    def on(topic: str, prompt: str) -> Example:
        plain = item(prompt)
        return plain._replace(fields={**plain.fields, "topic": topic})

    pool = Pool.of([on("law", "1"), on("art", "2"), on("law", "3")])
    assert prompts([m.example for m in same_topic(on("law", "4"), pool).members]) == ["1", "3"]
    assert same_topic(item("4"), pool) is pool


def plain_shots(
    pool: list[Example], example: Example, count: int, seed: int, sampling: str, balanced: bool
) -> list[Example]:
    """The draw written once more, with nothing kept from item to item."""

    def read(e: Example) -> str:
        return "".join(e.fields["prompt"].lower().split())

    def turn(e: Example, salt: str) -> bytes:
        return hashlib.sha256(f"{salt}|{e.digest}".encode()).digest()

    salt = f"{seed}" if sampling == "fixed" else f"{seed}|{example.digest}"
    others = [e for e in pool if e.digest != example.digest and read(e) != read(example)]
    if sampling == "first":
        return others[:count]
    order = sorted(others, key=lambda e: turn(e, salt))
    if balanced:
        answers = [e.fields["answer"] for e in order]
        place = {e.digest: answers[:i].count(answers[i]) for i, e in enumerate(order)}
        order = sorted(order, key=lambda e: place[e.digest])
    return sorted(order[:count], key=lambda e: turn(e, f"order|{salt}"))


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("sampling", fewshot.SAMPLING)
def test_the_shots_are_those_of_a_plain_draw(sampling: str, balanced: bool) -> None:
    stored = [*POOL, POOL[4]._replace(id="again"), item("  QUESTION 7", 1)]
    pool = Pool.of(stored)
    if balanced and sampling == "first":
        with pytest.raises(ValueError, match="sampling must be fixed or per_item where balanced"):
            shots(pool, POOL[0], 7, 0, sampling, balanced)
        return
    for asked in (*POOL, item("mine"), item("Question\n9")):
        for seed in (0, 1234):
            expected = plain_shots(stored, asked, 7, seed, sampling, balanced)
            assert shots(pool, asked, 7, seed, sampling, balanced) == expected


@pytest.mark.parametrize("sampling", fewshot.SAMPLING)
def test_a_pool_is_digested_once_for_all_items(
    sampling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {name: name for name in ("prompt", "choices", "answer")}
    said = {"metric": "accuracy", "chance": 0.5, "columns": columns}
    said |= {"settings": {"shots": 3, "sampling": sampling}}
    fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "none"}, "multiple_choice")
    read = examples.Examples(Card(*fixed, **said))
    read.train, read.test = POOL, [item(f"test {i}") for i in range(20)]
    digested = []
    digest = examples._digest
    monkeypatch.setattr(examples, "_digest", lambda f: digested.append(1) or digest(f))
    found = fewshot.contexts(read, read.test)
    assert len(digested) == len(POOL) + len(read.test)
    for example, context in zip(read.test, found, strict=True):
        drawn = plain_shots(POOL, example, 3, 1234, sampling, False)
        asked = [*(solved_example(shot, " ") for shot in drawn), example.fields["prompt"]]
        assert context == "\n\n".join(asked)


def test_a_solved_question_has_its_answer_where_the_card_puts_it() -> None:
    assert solved_example(item("Is it?", 1), " ") == "Is it? yes"
    gap = Example("g", {**item("so ", 1).fields, "continuation": "it is."}, "g")
    assert solved_example(gap, " ") == "so yes it is."


def test_a_small_pool_and_a_wrong_word_are_refused() -> None:
    with pytest.raises(ValueError, match="shots must be at most 39"):
        shots(SOLVED, POOL[0], 40, 0)
    with pytest.raises(ValueError, match=r"first, fixed, per_item\. Did you mean fixed"):
        shots(SOLVED, POOL[0], 4, 0, "fixt")
