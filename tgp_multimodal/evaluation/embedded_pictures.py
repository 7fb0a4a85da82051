"""Rows of the picture cards: handwritten digits, drawn scenes, prompts with checkable truths."""

from typing import Any

import numpy as np

from tgp_multimodal.data import embedded, scene_language, scenes

Row = dict[str, Any]

_SIZE = 32
_SCENES = {"train": 500, "validation": 150, "test": 300}
_SCENE_SEED = 20240613
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
    """Pictures of one thing each, with its shape and colour; the size and the place vary.

    All are of combinations that pretraining sees; the seeds are not pretraining's.
    """
    rows: list[Row] = []
    place = [*_SCENES].index(split) if split in _SCENES else 0
    index = 0
    while len(rows) < _SCENES.get(split, 0):
        described = scenes.sample_described(np.random.default_rng([_SCENE_SEED, place, index]))
        index += 1
        things = described.scene.things
        if len(things) == 1:
            pixels = scenes.render(described.scene, _SIZE)
            rows.append({"image": pixels, "shape": things[0].shape, "colour": things[0].colour})
    return rows


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
