"""Entities of tags as seqeval reads them, strictly and leniently."""

import importlib
import random

import pytest

from tgp_multimodal.evaluation.entities import Entity, EntityCounts, count_entities, entities, total

TAGS = ["O", "B-A", "I-A", "B-B-c", "I-B-c"]


def f1(predicted: list[list[str]], true: list[list[str]], is_strict: bool) -> float:
    pairs = zip(predicted, true, strict=True)
    return total([count_entities(p, t, is_strict) for p, t in pairs]).f1


def test_entities_of_well_formed_tags() -> None:
    tags = ["B-A", "I-A", "O", "B-A", "B-A", "B-creative-work", "I-creative-work"]
    expected = {("A", 0, 2), ("A", 3, 4), ("A", 4, 5), ("creative-work", 5, 7)}
    assert entities(tags, True) == entities(tags, False) == {Entity(*e) for e in expected}
    assert entities([], True) == entities(["O", "O"], False) == set()


@pytest.mark.parametrize(
    ("tags", "strict", "lenient"),
    [
        (["I-A", "I-A", "O"], set(), {("A", 0, 2)}),
        (["O", "I-A", "B-A"], {("A", 2, 3)}, {("A", 1, 2), ("A", 2, 3)}),
        (["B-A", "I-B", "I-B"], {("A", 0, 1)}, {("A", 0, 1), ("B", 1, 3)}),
        (["B-A", "I-B", "I-A"], {("A", 0, 1)}, {("A", 0, 1), ("B", 1, 2), ("A", 2, 3)}),
    ],
)
def test_the_two_readings_of_an_inside_with_nothing_before(tags, strict, lenient) -> None:
    assert entities(tags, True) == {Entity(*e) for e in strict}
    assert entities(tags, False) == {Entity(*e) for e in lenient}


def test_numbers_that_seqeval_documents() -> None:
    person = ["B-PER", "I-PER", "O"]
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], person]
    predicted = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], person]
    assert f1(predicted, true, False) == f1(predicted, true, True) == 0.5
    true, predicted = [["B-NP", "I-NP", "O"]], [["I-NP", "I-NP", "O"]]
    assert f1(predicted, true, False) == 1
    assert f1(predicted, true, True) == 0


def test_a_right_entity_has_type_start_and_end_right() -> None:
    true = ["B-A", "I-A", "O", "B-B"]
    assert count_entities(["B-B", "I-B", "O", "B-B"], true, True) == EntityCounts(2, 2, 1)
    assert count_entities(["B-A", "O", "O", "B-B"], true, True) == EntityCounts(2, 2, 1)
    assert count_entities(["O", "O", "O", "O"], true, True) == EntityCounts(2, 0, 0)
    assert count_entities(true, true, True, kind="A") == EntityCounts(1, 1, 1)
    assert EntityCounts(0, 0, 0).f1 == 0


@pytest.mark.parametrize("seed", range(20))
def test_f1_is_seqevals(seed: int) -> None:
    peer, schemes = (importlib.import_module(f"seqeval.{m}") for m in ("metrics", "scheme"))
    rng = random.Random(seed)
    sizes = [rng.randint(1, 12) for _ in range(30)]
    true, predicted = ([rng.choices(TAGS, k=size) for size in sizes] for _ in range(2))
    assert f1(predicted, true, False) == pytest.approx(peer.f1_score(true, predicted))
    strict = peer.f1_score(true, predicted, mode="strict", scheme=schemes.IOB2)
    assert f1(predicted, true, True) == pytest.approx(strict)
