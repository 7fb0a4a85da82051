from itertools import islice

import numpy as np
import pytest

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.batches import text_batches
from tgp_multimodal.data.picture_batches import picture_batches
from tgp_multimodal.data.pipeline import Stream
from tgp_multimodal.data.prepared import PictureSplit, TextSplit


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train(["a red circle", "a blue square"], 280)


@pytest.fixture(scope="module")
def text():
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 60, 80)
    ids = rng.integers(10, 260, sizes.sum()).astype(np.uint16)
    stream = (np.arange(80) % 2).astype(np.uint8)
    return TextSplit(ids, np.concatenate(([0], np.cumsum(sizes))), stream, ("prose", "code"))


@pytest.fixture(scope="module")
def pictures():
    pixels = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    captions = [(f"a {'red circle' if i % 2 else 'blue square'} {i}",) for i in range(20)]
    return PictureSplit(pixels, captions, np.zeros(20, np.uint8), ("scenes",))


def stream(text, pictures, tokenizer, seed=0, shard=(0, 1), threads=1):
    weights = {"prose": 0.5, "code": 0.5}
    return Stream(
        {
            "text": text_batches(text, tokenizer, weights, {"code": 0.5}, 16, 4, seed, shard),
            "pictures": picture_batches(pictures, tokenizer, {"scenes": 1.0}, 12, 3, seed, shard),
        },
        threads,
    )


def equal(first, second):
    return all(
        np.array_equal(a, b)
        for name in first
        for a, b in zip(first[name], second[name], strict=True)
    )


@pytest.mark.parametrize("start", [1, 7, 23])
def test_a_resumed_stream_gives_the_batches_of_an_unbroken_one(text, pictures, tokenizer, start):
    whole = list(islice(stream(text, pictures, tokenizer).batches(), 30))
    rest = list(islice(stream(text, pictures, tokenizer, threads=3).batches(start), 30 - start))
    assert all(equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_shards_together_are_the_whole(text, pictures, tokenizer):
    whole = list(islice(stream(text, pictures, tokenizer).batches(), 4))
    parts = [
        list(islice(stream(text, pictures, tokenizer, shard=(i, 2)).batches(), 2)) for i in (0, 1)
    ]
    rows = np.concatenate([b["text"].row_B for b in whole])
    assert sorted(np.concatenate([b["text"].row_B for p in parts for b in p])) == sorted(rows)
    assert not set(parts[0][0]["text"].row_B) & set(parts[1][0]["text"].row_B)


def test_the_mixture_has_its_shares_and_row_numbers_are_unique(text, tokenizer):
    batches = text_batches(text, tokenizer, {"prose": 0.75, "code": 0.25}, {"code": 1.0}, 40, 8, 0)
    rows = [batches[i] for i in range(50)]
    numbers = np.concatenate([b.row_B for b in rows])
    assert len(set(numbers)) == len(numbers)
    infilled = np.concatenate([b.infill_B for b in rows]).mean()
    assert 0.08 < infilled <= 0.25  # rows of crumbs stay as they are


def test_seeds_differ(text, pictures, tokenizer):
    one, other = (next(stream(text, pictures, tokenizer, seed).batches()) for seed in (0, 1))
    assert not equal(one, other)


def test_unknown_streams_and_empty_mixtures_are_named(text, pictures, tokenizer):
    with pytest.raises(ValueError, match=r"text.weights must .* prose, code. Got cod instead"):
        text_batches(text, tokenizer, {"cod": 1.0}, {}, 16, 4, 0)
    with pytest.raises(ValueError, match=r"text.infill must .* prose, code. Got python instead"):
        text_batches(text, tokenizer, {"code": 1.0}, {"python": 0.5}, 16, 4, 0)
    with pytest.raises(ValueError, match=r"weights must be positive for one of scenes"):
        picture_batches(pictures, tokenizer, {"scenes": 0.0}, 12, 3, 0)


def ramped(text, tokenizer, **more):
    stages = [{"until": 3, "length": 8, "batch": 6}, {"until": 5, "length": 12, "batch": 5}]
    weights = {"prose": 0.5, "code": 0.5}
    return text_batches(text, tokenizer, weights, {}, 16, 4, 0, ramp=stages, **more)


def test_a_held_out_stream_too_small_for_a_row_is_left_out_and_told(text, tokenizer):
    small = text._replace(stream=np.where(np.arange(80) == 3, 1, 0).astype(np.uint8))
    rows = {"weights": {"prose": 0.5, "code": 0.5}, "infill": {}, "length": 200}
    with pytest.raises(ValueError, match=r"stream 'code' must hold at least one row of 201 tokens"):
        text_batches(small, tokenizer, **rows, batch=2, seed=0)
    held_out = small._replace(name="validation")
    with pytest.warns(UserWarning, match=r"left out: validation of stream 'code' must hold .* 201"):
        given = text_batches(held_out, tokenizer, **rows, batch=2, seed=0)
    alone = text_batches(held_out, tokenizer, **rows | {"weights": {"prose": 1.0}}, batch=2, seed=0)
    assert equal({"text": given[5]}, {"text": alone[5]})
    with pytest.raises(ValueError, match=r"Got \d+ tokens instead: a larger --validation_share"):
        text_batches(held_out, tokenizer, **rows | {"weights": {"code": 1.0}}, batch=2, seed=0)


def test_a_ramp_has_its_stages_and_then_the_batches_of_a_run_without_one(text, tokenizer):
    batches = [ramped(text, tokenizer)[i] for i in range(8)]
    shapes = [b.token_BL.shape for b in batches]
    assert shapes == [(6, 9)] * 3 + [(5, 13)] * 2 + [(4, 17)] * 3
    plain = text_batches(text, tokenizer, {"prose": 0.5, "code": 0.5}, {}, 16, 4, 0)
    assert np.array_equal(batches[6].token_BL, plain[6].token_BL)


@pytest.mark.parametrize("start", [1, 3, 4])
def test_a_stream_resumes_inside_a_ramp(text, tokenizer, start):
    whole = list(islice(Stream({"text": ramped(text, tokenizer)}).batches(), 8))
    rest = islice(Stream({"text": ramped(text, tokenizer)}, threads=3).batches(start), 8 - start)
    assert all(equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_ramps_that_do_not_rise_are_refused(text, tokenizer):
    weights = {"prose": 1.0}
    same = [{"until": 3, "length": 8, "batch": 6}] * 2
    with pytest.raises(ValueError, match=r"until must rise from stage to stage of ramp. Got 3"):
        text_batches(text, tokenizer, weights, {}, 16, 4, 0, ramp=same)
    with pytest.raises(ValueError, match=r"a stage of ramp must have until, length and batch"):
        text_batches(text, tokenizer, weights, {}, 16, 4, 0, ramp=[{"until": 3}])


@pytest.mark.parametrize("start", [0, 1, 2, 5, 6, 7])
def test_a_stream_that_is_not_due_makes_no_batch_and_loses_none(text, pictures, tokenizer, start):
    def batches(every, threads=0):
        rows = text_batches(text, tokenizer, {"prose": 1.0}, {}, 16, 2, 0)
        seen = picture_batches(pictures, tokenizer, {"scenes": 1.0}, 12, 4, 0)
        return Stream({"text": rows, "pictures": seen}, threads, every).batches

    whole = list(islice(batches({})(), 12))
    some = list(islice(batches({"text": 3}, threads=1)(start), 12 - start))
    assert [set(b) for b in some] == [
        {"text", "pictures"} if step % 3 == 0 else {"pictures"} for step in range(start, 12)
    ]
    due = [b for b in some if "text" in b]
    first = -(-start // 3)
    for number, batch in enumerate(due, start=first):
        assert all(map(np.array_equal, batch["text"], whole[number]["text"]))
    for number, batch in enumerate(some, start=start):
        assert all(map(np.array_equal, batch["pictures"], whole[number]["pictures"]))
