import random

import pytest

from tgp_multimodal.evaluation.examples import Example
from tgp_multimodal.evaluation.fewshot import about, shots, solved


def item(prompt: str, answer: int = 0) -> Example:
    fields = {"prompt": prompt, "choices": ["no", "yes"], "answer": answer}
    return Example(f"id of {prompt}", fields, prompt)


POOL = [item(f"question {i}", int(i % 4 == 0)) for i in range(40)]


def prompts(found: list[Example]) -> list[str]:
    return [e.fields["prompt"] for e in found]


@pytest.mark.parametrize("sampling", ["per_item", "fixed"])
def test_shots_depend_on_seed_and_item_and_not_on_the_pools_order(sampling: str) -> None:
    mixed = random.Random(1).sample(POOL, len(POOL))
    first = shots(POOL, item("mine"), 5, 7, sampling)
    assert shots(mixed, item("mine"), 5, 7, sampling) == first
    assert len(set(prompts(first))) == 5
    assert shots(POOL, item("mine"), 5, 8, sampling) != first


def test_per_item_differs_between_items_and_fixed_does_not() -> None:
    of_one, of_other = (shots(POOL, item(x), 5, 7) for x in ("one", "other"))
    assert of_one != of_other
    of_one, of_other = (shots(POOL, item(x), 5, 7, "fixed") for x in ("one", "other"))
    assert of_one == of_other


@pytest.mark.parametrize("sampling", ["per_item", "fixed"])
def test_an_item_never_meets_itself_or_its_double(sampling: str) -> None:
    double = "  QUESTION\n3 "
    for asked in (*POOL, item(double, 1)):
        met = "".join(prompts(shots(POOL, asked, len(POOL) - 1, 0, sampling))).lower()
        squeezed = "".join(asked.fields["prompt"].lower().split())
        assert squeezed not in [
            "".join(p.lower().split())
            for p in prompts(shots(POOL, asked, len(POOL) - 1, 0, sampling))
        ]
        assert met


def test_the_double_alone_is_replaced_in_fixed_shots() -> None:
    usual = shots(POOL, item("mine"), 5, 7, "fixed")
    other = shots(POOL, usual[2], 5, 7, "fixed")
    assert usual[2] not in other
    assert len(set(prompts(usual)) & set(prompts(other))) == 4


def test_balanced_shots_take_answers_in_turn() -> None:
    for name in ("a", "b", "c"):
        answers = [e.fields["answer"] for e in shots(POOL, item(name), 6, 3, balanced=True)]
        assert sorted(answers) == [0, 0, 0, 1, 1, 1]


def test_the_first_shots_are_the_first_of_the_pool_but_for_the_double() -> None:
    assert shots(POOL, item("mine"), 3, 7, "first") == POOL[:3]
    assert shots(POOL, POOL[1], 3, 7, "first") == [POOL[0], POOL[2], POOL[3]]


def test_shots_are_on_the_items_topic_where_it_has_one() -> None:
    def on(topic: str, prompt: str) -> Example:
        plain = item(prompt)
        return plain._replace(fields={**plain.fields, "topic": topic})

    pool = [on("law", "1"), on("art", "2"), on("law", "3")]
    assert prompts(list(about(on("law", "4"), pool))) == ["1", "3"]
    assert about(item("4"), POOL) is POOL


def test_a_solved_question_has_its_answer_where_the_card_puts_it() -> None:
    assert solved(item("Is it?", 1), " ") == "Is it? yes"
    gap = Example("g", {**item("so ", 1).fields, "continuation": "it is."}, "g")
    assert solved(gap, " ") == "so yes it is."


def test_a_small_pool_and_a_wrong_word_are_refused() -> None:
    with pytest.raises(ValueError, match="shots must be at most 39"):
        shots(POOL, POOL[0], 40, 0)
    with pytest.raises(ValueError, match=r"first, fixed, per_item\. Did you mean fixed"):
        shots(POOL, POOL[0], 4, 0, "fixt")
