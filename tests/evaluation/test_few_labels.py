from collections import Counter
from itertools import pairwise

import pytest

from tgp_multimodal.evaluation.few_labels import draw

LABELS = ["a", "b", "c", "a", "b", "a"] * 40 + ["rare", "rare"]


def test_every_class_gives_as_many_as_asked_or_all_it_has():
    drawn = draw(LABELS, 5, seed=0)
    assert Counter(LABELS[p] for p in drawn.places) == {"a": 5, "b": 5, "c": 5, "rare": 2}
    assert drawn.short == {"rare": 2}
    assert drawn.places == sorted(set(drawn.places))


def test_a_smaller_draw_lies_within_a_larger_one():
    drawn = [set(draw(LABELS, count, seed=3).places) for count in (1, 5, 10, 50)]
    assert all(one < other for one, other in pairwise(drawn))


def test_seeds_draw_differently_and_each_the_same_again():
    assert draw(LABELS, 5, seed=0) == draw(LABELS, 5, seed=0)
    assert len({tuple(draw(LABELS, 5, seed=s).places) for s in range(20)}) == 20


def test_every_item_is_drawn_equally_often():
    labels = ["a"] * 10
    counts = Counter(draw(labels, 1, seed=s).places[0] for s in range(2000))
    # 200 each are expected; five standard deviations are 67.
    assert len(counts) == 10
    assert all(abs(count - 200) < 67 for count in counts.values())


def test_by_digests_the_order_of_the_items_has_no_say():
    names = [f"item {i}" for i in range(len(LABELS))]
    forward = draw(LABELS, 4, 1, names)
    backward = draw(LABELS[::-1], 4, 1, names[::-1])
    drawn = {names[p] for p in forward.places}
    assert drawn == {names[::-1][p] for p in backward.places}


def test_a_class_draws_whatever_other_classes_there_are():
    names = [f"item {i}" for i in range(len(LABELS))]
    alone = [i for i, label in enumerate(LABELS) if label == "b"]
    whole = [p for p in draw(LABELS, 4, 1, names).places if LABELS[p] == "b"]
    own = draw(["b"] * len(alone), 4, 1, [names[i] for i in alone]).places
    assert [alone[p] for p in own] == whole


def test_bad_input_is_answered_in_a_sentence():
    with pytest.raises(ValueError, match=r"per_class must be at least 1\. Got 0 instead\."):
        draw(LABELS, 0, 0)
    with pytest.raises(ValueError, match=r"digests must be as many as labels, 2\. Got 1 instead"):
        draw(["a", "b"], 1, 0, ["x"])
