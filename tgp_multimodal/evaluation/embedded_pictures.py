"""Rows of the picture cards: handwritten digits, drawn scenes, prompts with checkable truths."""

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import numpy as np

from tgp_multimodal.data import embedded, scene_language, scenes

Row = dict[str, Any]

_SIZE = 32
_SCENES = {"train": 500, "validation": 150, "test": 300}
_SCENE_SEED = 20240613
_HELD_OUT_THINGS = 300
_CAPTIONED, _WORDINGS = 200, 3
_EXACT = scenes.Mix(colours_named=1.0, background_named=1.0)
_PROMPTS_PER_AXIS = 20
_PROMPTS_HELD_OUT = 10


def digits(split: str) -> list[Row]:
    """Scikit-learn's handwritten digits, in the split of the embedded corpus."""
    if split not in embedded.SPLITS:
        return []
    return [
        {"image": p.pixels_YXC, "label": p.name.rpartition("/")[2]} for p in embedded.digits(split)
    ]


def scene_attributes(split: str) -> list[Row]:
    """Pictures of one thing each, with its shape and colour; size, place and background vary.

    All are of combinations that pretraining sees; the seeds are not pretraining's.
    """
    if split not in _SCENES:
        return []
    return [
        {"image": pixels, "shape": thing.shape, "colour": thing.colour}
        for pixels, thing in islice(_single([*_SCENES].index(split)), _SCENES[split])
    ]


def held_out_things(split: str) -> list[Row]:
    """Pictures of one thing each, of colours and shapes that pretraining never shows together."""
    if split != "test":
        return []
    rows = []
    for pixels, thing in islice(_single(len(_SCENES), held_out=True), _HELD_OUT_THINGS):
        article = "an" if thing.colour[0] in "aeiou" else "a"
        rows.append({"image": pixels, "name": f"{article} {thing.colour} {thing.shape}"})
    return rows


def captioned_scenes(split: str) -> list[Row]:
    """Pictures of seen combinations, each with a few captions that are true of no other of them.

    The captions say the same in other words, with all colours and the background named. No two
    pictures have the same things on the same background.
    """
    if split != "test":
        return []
    found: dict[Any, Row] = {}
    for index in count():
        if len(found) == _CAPTIONED:
            return [*found.values()]
        rng = np.random.default_rng([_SCENE_SEED, len(_SCENES) + 1, index])
        scene, truth, _ = scenes.sample_described(rng, mix=_EXACT)
        wordings = dict.fromkeys(scene_language.say(truth, rng) for _ in range(_WORDINGS))
        row = {"image": scenes.render(scene, _SIZE), "captions": [*wordings]}
        found.setdefault((frozenset(truth.groups), truth.background), row)
    raise AssertionError("numbers do not end")


def _single(place: int, held_out: bool = False) -> Iterator[tuple[np.ndarray, scenes.Thing]]:
    """Pictures of one thing each without end, those of one place apart from those of others."""
    for index in count():
        rng = np.random.default_rng([_SCENE_SEED, place, index])
        scene = scenes.sample_described(rng, held_out).scene
        if len(scene.things) == 1:
            yield scenes.render(scene, _SIZE), scene.things[0]


def scene_prompts(split: str) -> list[Row]:
    """Prompts of the six axes, and those that name a combination which pretraining never shows."""
    if split != "test":
        return []
    found = [
        p
        for axis in scene_language.AXES
        for p in scene_language.prompts(axis, _PROMPTS_PER_AXIS, _SCENE_SEED)
    ]
    found += [
        p
        for axis in scene_language.HELD_OUT_AXES
        for p in scene_language.prompts(axis, _PROMPTS_HELD_OUT, _SCENE_SEED, held_out=True)
    ]
    return [
        {"prompt": p.text, "axis": p.axis, "truth": p.truth, "held_out": p.held_out, "seed": i}
        for i, p in enumerate(found)
    ]
