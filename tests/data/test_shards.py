"""What several processes read in a step is together what one process reads."""

from itertools import islice

import numpy as np
import pytest

from tgp_multimodal.data.batches import passage_batches, text_batches
from tgp_multimodal.data.picture_batches import caption_batches, picture_batches
from tgp_multimodal.data.pipeline import Stream
from tgp_multimodal.data.prepared import PictureSplit, open_text, write_text
from tgp_multimodal.data.records import Document

STEPS = 9


@pytest.fixture(scope="module")
def text(corpus, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    documents = [Document(t, ("prose", "code")[i % 2], f"d{i}") for i, t in enumerate(corpus * 4)]
    write_text(folder, {"train": documents}, tokenizer, [])
    return open_text(folder, "train")


def make(name, text, tokenizer, shard):
    """A stream whose global batch is 8, or 4 in the first steps of the ramp."""
    world, weights = shard[1], {"prose": 0.7, "code": 0.3}
    stages = [{"until": 4, "length": 12, "batch": 4 // world}]
    if name == "passages":
        return passage_batches(text, tokenizer, weights, 16, 8 // world, 0, shard)
    if name in ("pictures", "drawn", "captions"):
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (22, 32, 32, 3), dtype=np.uint8)
        captions = [("a dot", f"dot {i}", "a spot")[: 1 + i % 3] for i in range(22)]
        split = PictureSplit(pixels, captions, np.arange(22, dtype=np.uint8) % 2, ("a", "b"))
        shares = {"a": 0.4, "b": 0.6}
        if name == "captions":
            return caption_batches(split, tokenizer, shares, 8 // world, 0, 12, shard)
        drawn, looks = ({"b": {}}, {"a": 0.5}) if name == "drawn" else ({}, {"a": 0.5, "b": 0.5})
        common = (split, tokenizer, shares, 12, 8 // world, 0, shard, drawn)
        return picture_batches(*common, flips=looks, crops=looks)
    infill, ramp = {"code": 1.0}, stages if name == "ramp" else ()
    return text_batches(text, tokenizer, weights, infill, 40, 8 // world, 0, shard, ramp)


def samples(batch):
    """The rows of a batch without their padding, as bytes, in an order of their own."""
    fields = batch._asdict()
    rows = [() for _ in next(iter(fields.values()))]
    masks = {"mask_BL": "token_BL", "first_mask_BL": "first_BL", "second_mask_BM": "second_BM"}
    for mask, tokens in masks.items():
        if mask in fields:
            padded = zip(fields.pop(tokens), fields.pop(mask), strict=True)
            rows = [(*row, t[m].tobytes()) for row, (t, m) in zip(rows, padded, strict=True)]
    return sorted(
        row + tuple(value[i].tobytes() for value in fields.values()) for i, row in enumerate(rows)
    )


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("name", ["text", "ramp", "pictures", "drawn", "passages", "captions"])
def test_processes_together_read_what_one_reads(name, world, text, tokenizer):
    def batches(shard):
        stream = Stream({name: make(name, text, tokenizer, shard)}, threads=0)
        return [b[name] for b in islice(stream.batches(), STEPS)]

    one = batches((0, 1))
    several = [batches((rank, world)) for rank in range(world)]
    for step, whole in enumerate(one):
        together = sorted(row for b in several for row in samples(b[step]))
        assert together == samples(whole)
        assert len(together) == (4 if name == "ramp" and step < 4 else 8)


@pytest.mark.parametrize("world", [2, 4])
def test_rows_stand_as_in_the_whole_batch(world, text, tokenizer):
    """Process r of W holds rows r, r + W, ...: what is drawn by place in the batch relies on it."""
    whole = make("text", text, tokenizer, (0, 1))[3].row_B
    for rank in range(world):
        part = make("text", text, tokenizer, (rank, world))[3].row_B
        assert part.tolist() == whole[rank::world].tolist()
