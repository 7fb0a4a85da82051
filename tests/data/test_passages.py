import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.batches import passage_batches
from tgp_multimodal.data.passages import PassagePairs
from tgp_multimodal.data.prepared import TextSplit

SIZES = np.array([30, 5, 200, 24, 1000, 23])


@pytest.fixture(scope="module")
def text():
    """Six documents; the thousands of a token are its document, so a passage says its origin."""
    ids = np.concatenate([1000 * (d + 1) + np.arange(n) for d, n in enumerate(SIZES)])
    offsets = np.concatenate(([0], np.cumsum(SIZES)))
    stream = np.array([0, 0, 0, 1, 0, 1])
    return TextSplit(ids.astype(np.uint16), offsets, stream, ("prose", "code"))


@given(number=st.integers(0, 2**40), seed=st.integers(0, 2**31), length=st.integers(12, 64))
def test_both_passages_are_near_each_other_in_one_document(text, number, seed, length):
    first, second = PassagePairs(text, "prose", length, seed)[number]
    assert len(first) == len(second) <= length
    assert len(first) >= 12
    assert {*(first // 1000), *(second // 1000)} in ({1}, {3}, {5})  # no short document
    assert abs(int(first[0]) - int(second[0])) <= 3 * length
    for passage in (first, second):
        assert (np.diff(passage.astype(int)) == 1).all()


def test_long_documents_come_more_often_and_every_place_comes(text):
    pairs = PassagePairs(text, "prose", 16)
    starts = np.array([int(pairs[i][0][0]) for i in range(4000)])
    count = {d: (starts // 1000 == d).mean() for d in (1, 3, 5)}
    assert count[1] == pytest.approx(1 / 21, abs=0.02)  # windows of 64 tokens: 1, 4 and 16
    assert count[5] == pytest.approx(16 / 21, abs=0.03)
    long = starts[starts // 1000 == 5] - 5000
    assert long.min() < 30
    assert long.max() > 950


def test_batches_are_resumable_and_sharded(text):
    tokenizer = tokenizers.train(["a red circle"], 280)
    whole = passage_batches(text, tokenizer, {"prose": 0.5, "code": 0.5}, 16, 4, seed=3)
    again = passage_batches(text, tokenizer, {"prose": 0.5, "code": 0.5}, 16, 4, seed=3)
    assert np.array_equal(whole[7].token_BL, again[7].token_BL)
    parts = [
        passage_batches(text, tokenizer, {"prose": 0.5, "code": 0.5}, 16, 2, 3, (i, 2))[0]
        for i in range(2)
    ]
    rows = [part.token_BL for part in parts]
    length = max(r.shape[1] for r in rows)
    assert length % 8 == 0
    # Shard 0 has pairs 0 and 2, shard 1 has 1 and 3; first passages come before second ones.
    for shard, part in enumerate(parts):
        for row in range(4):
            pair, side = 2 * (row % 2) + shard, row // 2
            mine = part.token_BL[row][part.mask_BL[row]]
            theirs = whole[0].token_BL[pair + 4 * side][whole[0].mask_BL[pair + 4 * side]]
            assert np.array_equal(mine, theirs)
    assert (whole[0].token_BL[:, 0] == tokenizer.bos).all()


def test_what_cannot_give_a_pair_is_named(text):
    with pytest.raises(ValueError, match=r"stream must be one of prose, code. Got 'x' instead"):
        PassagePairs(text, "x", 16)
    with pytest.raises(ValueError, match=r"length must be at least 12. Got 4 instead"):
        PassagePairs(text, "prose", 4)
    short = text._replace(stream=np.array([1, 0, 1, 1, 1, 0]))
    with pytest.raises(ValueError, match=r"'prose' must hold a document of 24 tokens"):
        PassagePairs(short, "prose", 16)
