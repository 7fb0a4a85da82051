"""Drawn scenes: every caption is true, held-out combinations stay out, every item stands alone."""

import re
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgp_multimodal.data import scene_check, scene_language, scenes
from tgp_multimodal.data.scene_language import (
    AXES,
    BACKGROUNDS,
    COLOURS,
    HELD_OUT,
    HELD_OUT_AXES,
    RELATIONS,
    SHAPES,
    TRAINED,
    Group,
    Truth,
)
from tgp_multimodal.data.scenes import PALETTE, Scene, Thing

NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}
SIDES = {"left": "left of", "right": "right of", "top": "above", "bottom": "below"}
NOUN = re.compile(rf"\b({'|'.join(NUMBERS)}) (?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})(s?)\b")


def understood(caption: str) -> Truth:
    """Reads a caption with none of the code that wrote it."""
    ground = re.search(rf"({'|'.join(BACKGROUNDS)}) background$", caption)
    groups = []
    for number, colour, shape, plural in NOUN.findall(caption):
        assert bool(plural) == (NUMBERS[number] > 1), caption
        groups.append(Group(shape, colour or None, NUMBERS[number]))
    relation = re.search(r"\b(left of|right of|above|over|below|under)\b", caption)
    corner = re.search(r"(?:on|at) the (left|right|top|bottom) and", caption)
    if relation:
        name = {"over": "above", "under": "below"}.get(relation[1], relation[1])
    else:
        name = SIDES[corner[1]] if corner else None
    return Truth(tuple(groups), name, ground[1] if ground else None)


def is_true(truth: Truth, scene: Scene) -> bool:
    """Compares a statement with a scene, things in the order in which they are named."""
    wanted = [group for group in truth.groups for _ in range(group.number)]
    if len(wanted) != len(scene.things) or truth.background not in (None, scene.background):
        return False
    for thing, group in zip(scene.things, wanted, strict=True):
        if thing.shape != group.shape or group.colour not in (None, thing.colour):
            return False
    if truth.relation is None:
        return True
    first, second = scene.things
    right, down = first.x - second.x, first.y - second.y
    along = {"left of": -right, "right of": right, "above": -down, "below": down}[truth.relation]
    return along > 2 * min(abs(right), abs(down)) and along > 0.2


@pytest.mark.parametrize("held_out", [False, True])
def test_every_caption_is_true_of_its_scene(held_out):
    rng = np.random.default_rng(0)
    for _ in range(1500):
        scene, truth, caption = scenes.sample_described(rng, held_out)
        assert understood(caption) == truth
        assert is_true(truth, scene), (caption, scene)


def test_the_test_reader_finds_false_captions():
    things = (Thing("circle", "red", 0.2, 0.5, 0.3), Thing("square", "blue", 0.8, 0.5, 0.3))
    scene = Scene(things, "black")
    assert is_true(understood("a red circle left of a blue square"), scene)
    for wrong in (
        "a red circle right of a blue square",
        "a blue circle left of a red square",
        "a red circle",
        "two red circles",
        "a circle and a square on a white background",
        "a circle at the top and a square at the bottom",
    ):
        assert not is_true(understood(wrong), scene), wrong


def test_grammar_has_the_right_articles():
    rng = np.random.default_rng(1)
    for _ in range(2000):
        caption = scenes.sample(rng)[1]
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption), caption
        assert not re.search(r"there is (two|three|four)|there are an? ", caption), caption
        assert "  " not in caption
        assert caption == caption.strip()


def test_things_are_inside_apart_and_large_enough():
    rng = np.random.default_rng(2)
    for i in range(1500):
        scene = scenes.sample(rng, held_out=i % 3 == 0)[0]
        for number, thing in enumerate(scene.things):
            assert thing.size * 32 >= 7
            assert thing.size * 32 >= 12 or len(scene.things) > 1
            for centre in (thing.x, thing.y):
                assert thing.size / 2 <= centre - 0.99 / 32
                assert centre + thing.size / 2 <= 1 - 0.99 / 32
            for other in scene.things[:number]:
                apart = max(abs(thing.x - other.x), abs(thing.y - other.y))
                assert apart - (thing.size + other.size) / 2 >= 2 / 32


def test_training_never_shows_a_held_out_combination():
    rng = np.random.default_rng(3)
    seen = Counter()
    for _ in range(3000):
        scene, _ = scenes.sample(rng)
        assert not scenes.is_held_out(scene)
        seen.update((thing.colour, thing.shape) for thing in scene.things)
    assert set(seen) == set(TRAINED)
    assert not set(seen) & set(HELD_OUT)
    assert min(seen.values()) > 0.5 * max(seen.values())


def test_held_out_scenes_name_a_held_out_combination():
    rng = np.random.default_rng(4)
    for _ in range(500):
        scene, truth, _ = scenes.sample_described(rng, held_out=True)
        assert scenes.is_held_out(scene)
        assert any((group.colour, group.shape) in HELD_OUT for group in truth.groups)


def test_training_mix_has_the_promised_shares_and_all_kinds_of_prompt():
    rng = np.random.default_rng(5)
    described = [scenes.sample_described(rng) for _ in range(3000)]
    numbers = Counter(len({thing[:2] for thing in d.scene.things}) for d in described)
    single = sum(len(d.scene.things) == 1 for d in described) / 3000
    assert single == pytest.approx(0.45, abs=0.04)
    assert numbers[2] / 3000 == pytest.approx(0.35, abs=0.04)
    truths = {d.truth for d in described}
    assert {Truth((Group(shape),)) for shape in SHAPES} <= truths
    assert {Truth((Group("circle"), Group("square")), relation) for relation in RELATIONS} <= truths
    assert {truth.groups[0].number for truth in truths} == {1, 2, 3, 4}
    assert {truth.background for truth in truths} == {None, *BACKGROUNDS}


@given(
    count=st.integers(1, 12),
    more=st.integers(0, 12),
    seed=st.integers(0, 2**32),
    held=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_an_item_depends_only_on_seed_and_number(count, more, seed, held):
    few = list(scenes.pairs(count, seed, held_out=held))
    many = list(islice(scenes.pairs(count + more, seed, held_out=held), count))
    for i, (a, b) in enumerate(zip(few, many, strict=True)):
        assert a.caption == b.caption
        assert np.array_equal(a.pixels_YXC, b.pixels_YXC)
        assert (a.stream, a.name) == ("scenes", f"scenes/{seed}/{i}")


def test_seeds_and_items_differ():
    captions = [[pair.caption for pair in scenes.pairs(50, seed)] for seed in (0, 1)]
    assert captions[0] != captions[1]
    assert len(set(captions[0])) > 30


@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_render_draws_the_colours_and_the_areas(size):
    areas = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5}
    for shape, area in areas.items():
        for background in BACKGROUNDS:
            thing = Thing(shape, "blue", 0.47, 0.52, 0.41)
            pixels_YXC = scenes.render(Scene((thing,), background), size)
            assert pixels_YXC.shape == (size, size, 3)
            assert pixels_YXC.dtype == np.uint8
            assert tuple(pixels_YXC[0, 0]) == PALETTE[background]
            assert tuple(pixels_YXC[int(0.52 * size), int(0.47 * size)]) == PALETTE["blue"]
            base, colour = (np.array(PALETTE[name], float) for name in (background, "blue"))
            cover = ((pixels_YXC - base) @ (colour - base)).sum() / ((colour - base) ** 2).sum()
            assert cover == pytest.approx(area * (0.41 * size) ** 2, rel=0.02)


def test_colours_are_well_apart():
    names = list(PALETTE)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert np.linalg.norm(np.subtract(PALETTE[a], PALETTE[b])) >= 95, (a, b)


@pytest.mark.parametrize("axis", AXES)
def test_prompts_say_their_truth_and_repeat_nothing_they_need_not(axis):
    prompts = scene_language.prompts(axis, 60, seed=0)
    assert prompts == scene_language.prompts(axis, 60, seed=0)
    assert prompts[:7] == scene_language.prompts(axis, 7, seed=0)
    assert len(prompts) == 60
    for prompt in prompts:
        assert understood(prompt.text) == prompt.truth
        assert (prompt.axis, prompt.held_out) == (axis, False)
        for group in prompt.truth.groups:
            assert (group.colour, group.shape) not in HELD_OUT
    distinct = len({prompt.text for prompt in prompts})
    possible = {"single_object": 15, "two_objects": 45}.get(axis, 60)  # few shapes, few wordings
    assert distinct >= possible


@pytest.mark.parametrize("axis", HELD_OUT_AXES)
def test_held_out_prompts_name_held_out_combinations(axis):
    for prompt in scene_language.prompts(axis, 40, seed=1, held_out=True):
        assert prompt.held_out
        assert understood(prompt.text) == prompt.truth
        groups = prompt.truth.groups
        assert any((group.colour, group.shape) in HELD_OUT for group in groups)


def test_axes_ask_what_they_are_called():
    truths = {axis: [p.truth for p in scene_language.prompts(axis, 50, 2)] for axis in AXES}
    assert all(t.groups[0].colour is None for t in truths["single_object"] + truths["two_objects"])
    assert {t.groups[0].number for t in truths["counting"]} == {1, 2, 3, 4}
    assert {t.background for t in truths["colours"]} == {None, *BACKGROUNDS}
    assert {t.relation for t in truths["position"]} == set(RELATIONS)
    for first, second in (t.groups for t in truths["attribute_binding"]):
        assert first.shape != second.shape
        assert first.colour != second.colour


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"axis must be one of .*Got 'colors' instead"):
        scene_language.prompts("colors", 1, 0)
    with pytest.raises(ValueError, match=r"with held_out.*Got 'position' instead"):
        scene_language.prompts("position", 1, 0, held_out=True)
    with pytest.raises(ValueError, match="size must be at least 16"):
        next(scenes.pairs(1, 0, size=8))
    with pytest.raises(ValueError, match="seed must be 0 or more"):
        next(scenes.pairs(1, -1))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_captions_say_where_things_are_as_often_as_asked(share):
    mix = scenes.Mix(single=0.0, two=1.0, posed=1.0, relation_named=share)
    said = []
    for i in range(400):
        found = scenes.sample_described(np.random.default_rng([5, i]), mix=mix)
        if scenes.relation_between(*found.scene.things) is not None:
            said.append(found.truth.relation is not None)
    assert np.mean(said) == pytest.approx(share, abs=0.08)


def test_posed_scenes_stand_near_their_places_and_stay_apart():
    mix = scenes.Mix(single=0.4, two=0.3, posed=1.0)
    for i in range(300):
        found = scenes.sample_described(np.random.default_rng([4, i]), mix=mix)
        things = found.scene.things
        if len(things) == 1:
            assert abs(things[0].x - 0.5) <= 1 / 32
            assert abs(things[0].y - 0.5) <= 1 / 32
        low, high = {1: (18, 24), 2: (11, 13)}.get(len(things), (10, 12))
        for thing in things:
            assert low / 32 <= thing.size <= high / 32
            assert thing.x - thing.size / 2 >= 1 / 32
            assert thing.x + thing.size / 2 <= 31 / 32
            assert thing.y - thing.size / 2 >= 1 / 32
            assert thing.y + thing.size / 2 <= 31 / 32
        seen = scene_check.check(scenes.render(found.scene), found.truth)
        assert seen.correct, (found.caption, seen.reason)


def test_usual_scenes_are_what_the_caption_says_and_usual_in_all_else():
    mix = scenes.Mix(single=0.3, two=0.4, colours_named=0.5, posed=1.0, usual=1.0)
    seen = Counter()
    for i in range(600):
        scene, truth, caption = scenes.sample_described(np.random.default_rng([6, i]), mix=mix)
        assert understood(caption) == truth
        assert is_true(truth, scene), (caption, scene)
        assert not scenes.is_held_out(scene)
        assert truth.background is not None or scene.background == "black"
        if truth.groups[0].colour is None:
            assert {thing.colour for thing in scene.things} == {"yellow"}
        if len(scene.things) == 2 and truth.relation is None:
            assert scenes.relation_between(*scene.things) == "left of"
        seen.update([scene.background, truth.relation, *(t.colour for t in scene.things)])
    assert {*COLOURS, *BACKGROUNDS, *RELATIONS, None} == {*seen}  # named ones are as varied as ever
