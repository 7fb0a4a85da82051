"""A run is validated on drawn scenes like those of its training, and on none of them."""

import numpy as np
import pytest

from tgp_multimodal.data.pipeline import open_stream
from tgp_multimodal.data.prepared import write_pictures
from tgp_multimodal.data.records import Pair
from tgp_multimodal.data.scene_language import COLOURS, SHAPES


@pytest.mark.parametrize("kind", ["pictures", "captions"])
def test_held_out_scenes_are_of_the_same_mixture_and_others(tokenizer, tmp_path, kind):
    """Those stored are of every kind: a run of one kind would be measured on what it never saw."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pairs = [Pair(pixels + i, f"number {i}", "scenes", str(i)) for i in range(40)]
    write_pictures(tmp_path / "pictures", {"train": pairs, "validation": pairs}, [])
    mix = {"scenes": {"single": 1.0, "two": 0.0, "colours_named": 1.0, "usual": 1.0}}
    pictures = {"weights": {"scenes": 1.0}, "longest": 32, "batch": 100, "drawn": mix}

    def captions(split):
        options = {"captions": {"batch": 100}}
        stream = open_stream(tmp_path, split, tokenizer, None, pictures, 0, **options)
        batch = next(stream.batches())[kind]
        sides = [batch[:2], batch[2:]] if kind == "captions" else [(batch.token_BL, batch.mask_BL)]
        return [
            tokenizer.decode(row[mask].tolist())
            for side in sides
            for row, mask in zip(*side, strict=True)
        ]

    train, held_out = captions("train"), captions("validation")
    assert held_out != train
    for caption in (*train, *held_out):
        assert any(colour in caption for colour in COLOURS), caption
        assert sum(shape in caption for shape in SHAPES) == 1, caption
