"""The exact checker, both ways: right pictures pass, and each kind of wrong caption fails."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tgp_multimodal.data.scene_check import UNKNOWN, check, read, stands
from tgp_multimodal.data.scene_language import (
    BACKGROUNDS,
    COLOURS,
    RELATIONS,
    SHAPES,
    Group,
    Truth,
)
from tgp_multimodal.data.scenes import PALETTE, Described, Scene, Thing, render, sample_described

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def described(count: int, seed: int) -> list[Described]:
    rng = np.random.default_rng(seed)
    return [sample_described(rng, held_out=i % 4 == 0) for i in range(count)]


def spoiled(pixels, blur, noise, rng, tint=0.0):
    """Does to a picture what a small diffusion model does."""
    soft = ndimage.gaussian_filter(pixels.astype(float), (blur, blur, 0), mode="nearest")
    soft += rng.normal(0, noise, pixels.shape) + rng.uniform(-tint, tint, (1, 1, 3))
    return np.clip(np.rint(soft), 0, 255).astype(np.uint8)


def full_truth(scene: Scene) -> Truth:
    """Says everything of a scene but the relation."""
    kinds = list(dict.fromkeys(thing[:2] for thing in scene.things))
    groups = tuple(Group(*kind, sum(thing[:2] == kind for thing in scene.things)) for kind in kinds)
    return Truth(groups, None, scene.background)


@pytest.mark.parametrize(("size", "count"), [(32, 1500), (64, 500), (96, 100), (128, 100)])
def test_accepts_every_scene_with_its_own_caption(size, count):
    for i, (scene, truth, caption) in enumerate(described(count, seed=size)):
        verdict = check(render(scene, size), full_truth(scene) if i % 3 == 0 else truth)
        assert verdict.correct, (caption, verdict)


def test_reads_back_the_very_scene():
    for scene, _, _ in described(300, seed=1):
        background, things = read(render(scene, 64))
        assert background == scene.background
        left_to_right = sorted(scene.things, key=lambda thing: thing.x)
        if any(b.x - a.x < 0.02 for a, b in pairwise(left_to_right)):
            continue
        for found, drawn in zip(things, left_to_right, strict=True):
            assert found[:2] == drawn[:2]
            assert found[2:] == pytest.approx(drawn[2:], abs=0.02)


def wrong_shape(scene, rng):
    truth = full_truth(scene)
    taken = {group.shape for group in truth.groups}
    other = rng.choice([shape for shape in SHAPES if shape not in taken])
    return truth._replace(groups=(truth.groups[0]._replace(shape=str(other)), *truth.groups[1:]))


def missing_object(scene, rng):
    truth = full_truth(scene)
    if len(truth.groups) == 1:
        return truth._replace(groups=(*truth.groups, Group(str(rng.choice(SHAPES)))))
    return truth._replace(groups=truth.groups[int(rng.integers(2)) :][:1])


def wrong_count(scene, rng):
    truth = full_truth(scene)
    if len(truth.groups) > 1:
        return None
    (group,) = truth.groups
    number = int(rng.choice([n for n in range(1, 6) if n != group.number]))
    return truth._replace(groups=(group._replace(number=number),))


def wrong_colour(scene, rng):
    truth = full_truth(scene)
    taken = {group.colour for group in truth.groups}
    other = str(rng.choice([colour for colour in COLOURS if colour not in taken]))
    return truth._replace(groups=(truth.groups[0]._replace(colour=other), *truth.groups[1:]))


def wrong_relation(scene, rng):
    truth = full_truth(scene)
    if len(truth.groups) == 1:
        return None
    holding = [name for name in RELATIONS if stands(*scene.things, name)]
    return truth._replace(relation=str(rng.choice([n for n in RELATIONS if n not in holding])))


def swapped_attributes(scene, rng):
    truth = full_truth(scene)
    if len(truth.groups) == 1:
        return None
    first, second = truth.groups
    if first.shape == second.shape or first.colour == second.colour:
        return None
    return truth._replace(
        groups=(first._replace(colour=second.colour), second._replace(colour=first.colour))
    )


WRONG = [wrong_shape, missing_object, wrong_count, wrong_colour, wrong_relation, swapped_attributes]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_rejects_each_kind_of_wrong_caption(wrong):
    rng = np.random.default_rng(7)
    tried = 0
    for scene, _, caption in described(1200, seed=8):
        truth = wrong(scene, rng)
        if truth is None:
            continue
        tried += 1
        verdict = check(render(scene, 32), truth)
        assert not verdict.correct, (caption, truth, verdict)
        assert verdict.reason != "as asked"
        if tried == 250:
            break
    assert tried == 250


def test_rejects_a_wrong_background():
    for scene, _, _ in described(100, seed=9):
        for background in BACKGROUNDS:
            truth = full_truth(scene)._replace(background=background)
            assert check(render(scene), truth).correct == (background == scene.background)


def test_only_the_true_relation_holds_of_captioned_scenes():
    for scene, truth, _ in described(300, seed=10):
        if truth.relation is not None:
            held = [
                n for n in RELATIONS if check(render(scene), truth._replace(relation=n)).correct
            ]
            assert held == [truth.relation]


@pytest.mark.parametrize(
    ("size", "blur", "noise", "tint", "least"),
    [
        (32, 0.6, 10, 0, 0.99),
        (32, 1.0, 10, 0, 0.99),
        (32, 0.6, 10, 25, 0.99),
        (64, 1.2, 20, 0, 0.99),
    ],
)
def test_forgives_soft_edges_noise_and_tints(size, blur, noise, tint, least):
    rng = np.random.default_rng(11)
    right = [
        check(spoiled(render(scene, size), blur, noise, rng, tint), full_truth(scene)).correct
        for scene, _, _ in described(400, seed=12)
    ]
    assert np.mean(right) >= least


def test_still_rejects_wrong_captions_of_spoiled_pictures():
    rng = np.random.default_rng(13)
    for i, (scene, _, _) in enumerate(described(300, seed=14)):
        truth = WRONG[i % len(WRONG)](scene, rng)
        if truth is not None:
            assert not check(spoiled(render(scene), 0.6, 10, rng), truth).correct


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_rejects_blank_pictures(background):
    pixels = np.full((32, 32, 3), PALETTE[background], np.uint8)
    for shape in SHAPES:
        verdict = check(pixels, Truth((Group(shape),)))
        assert not verdict.correct
        assert verdict.reason == "there are 0 things, not 1"


@given(seed=st.integers(0, 2**32), sigma=st.sampled_from([20, 40, 80, 160, None]))
@settings(deadline=None, max_examples=60)
def test_rejects_pure_noise(seed, sigma):
    rng = np.random.default_rng(seed)
    if sigma is None:
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    else:
        pixels = np.clip(rng.normal(120, sigma, (32, 32, 3)), 0, 255).astype(np.uint8)
    for shape in SHAPES:
        assert not check(pixels, Truth((Group(shape),))).correct


@given(
    shape=st.sampled_from(SHAPES),
    colour=st.sampled_from(COLOURS),
    background=st.sampled_from(BACKGROUNDS),
    size=st.floats(6.5 / 32, 22 / 32),
    right=st.floats(0, 1),
    down=st.floats(0, 1),
)
@settings(deadline=None, max_examples=150)
def test_reads_any_single_thing_anywhere(shape, colour, background, size, right, down):
    low = size / 2 + 1 / 32
    x, y = low + right * (1 - 2 * low), low + down * (1 - 2 * low)
    thing = Thing(shape, colour, x, y, size)
    seen, things = read(render(Scene((thing,), background), 32))
    assert seen == background
    assert len(things) == 1
    assert things[0][:2] == (shape, colour)
    assert things[0][2:] == pytest.approx(thing[2:], abs=0.02)


def test_counts_an_extra_thing_but_no_speck():
    scene = Scene(
        (Thing("circle", "red", 0.3, 0.3, 0.4), Thing("square", "red", 0.8, 0.8, 0.2)), "gray"
    )
    truth = Truth((Group("circle"),))
    assert check(render(scene), truth).reason == "there are 2 things, not 1"
    pixels = render(scene._replace(things=scene.things[:1]))
    pixels[27:30, 27:30] = PALETTE["green"]  # 9 pixels
    assert check(pixels, truth).correct


def test_touching_things_of_two_colours_are_two():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[8:18, 5:15] = PALETTE["red"]
    pixels[8:18, 15:25] = PALETTE["blue"]
    assert check(
        pixels, Truth((Group("square", "red"), Group("square", "blue")), "left of")
    ).correct
    assert not check(pixels, Truth((Group("square", "red"),))).correct


def odd_shape(name):
    """Draws a shape that is none of the three."""
    at = (np.arange(256) + 0.5) / 56 - 256 / 112  # 8 times as fine, 14 pixels wide
    x, y = np.meshgrid(at, at)
    inside = {
        "ring": (x**2 + y**2 < 1) & (x**2 + y**2 > 0.3),
        "flat": x**2 + 4 * y**2 < 1,
        "half": (x**2 + y**2 < 1) & (y > 0),
        "corner": (abs(x) < 1) & (abs(y) < 1) & ~((x > 0) & (y < 0)),
        "cross": (abs(x) < 1) & (abs(y) < 1) & ((abs(x) < 0.33) | (abs(y) < 0.33)),
        "upside down": (y > -1) & (abs(x) < (1 - y) / 2),
        "bar": (abs(x) < 1) & (abs(y) < 0.4),
    }[name]
    cover = inside.reshape(32, 8, 32, 8).mean(axis=(1, 3))
    return np.rint(cover[..., None] * np.array(PALETTE["red"])).astype(np.uint8)


@pytest.mark.parametrize("name", ["ring", "flat", "half", "corner", "cross", "upside down", "bar"])
def test_other_shapes_are_unknown(name):
    (thing,) = read(odd_shape(name)).things
    assert (thing.shape, thing.colour) == (UNKNOWN, "red")


def test_colours_outside_the_world_are_unknown():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[8:20, 8:20] = (255, 255, 255)
    assert read(pixels).things[0][:2] == ("square", UNKNOWN)
    assert check(pixels, Truth((Group("square"),))).correct
    assert not any(check(pixels, Truth((Group("square", colour),))).correct for colour in COLOURS)


def test_wrong_pictures_are_named():
    truth = Truth((Group("circle"),))
    with pytest.raises(ValueError, match=r"pixels must be unsigned bytes .*Got float64"):
        check(np.zeros((32, 32, 3)), truth)
    with pytest.raises(ValueError, match=r"Got uint8 \(3, 32, 32\) instead"):
        check(np.zeros((3, 32, 32), np.uint8), truth)
    with pytest.raises(ValueError, match="16 rows or more"):
        check(np.zeros((8, 8, 3), np.uint8), truth)


def test_relations_have_a_cone_and_a_least_distance():
    middle = Thing("square", "blue", 0.5, 0.5, 0.2)

    def held(right, down):
        thing = Thing("circle", "red", 0.5 + right, 0.5 + down, 0.2)
        return [name for name in RELATIONS if stands(thing, middle, name)]

    assert held(-0.3, 0.0) == ["left of"]
    assert held(0.3, 0.15) == ["right of"]
    assert held(0.15, -0.3) == ["above"]
    assert held(0.3, 0.3) == ["right of", "below"]  # as in GenEval, a diagonal is both
    assert held(0.09, 0.0) == []
