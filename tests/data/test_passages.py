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
    assert np.array_equal(whole[7].first_BL, again[7].first_BL)
    parts = [
        passage_batches(text, tokenizer, {"prose": 0.5, "code": 0.5}, 16, 2, 3, (i, 2))[0]
        for i in range(2)
    ]
    assert parts[0].first_BL.shape[1] % 8 == 0
    # Shard 0 has pairs 0 and 2, shard 1 has 1 and 3.
    for shard, part in enumerate(parts):
        for side in (slice(0, 2), slice(2, 4)):
            mine, theirs = (
                [ids[mask] for ids, mask in zip(*rows[side], strict=True)]
                for rows in (part, whole[0])
            )
            assert all(map(np.array_equal, mine, theirs[shard::2]))
    assert (whole[0].first_BL[:, 0] == tokenizer.bos).all()
    assert (whole[0].second_BM[:, 0] == tokenizer.bos).all()


@given(number=st.integers(0, 2**40), seed=st.integers(0, 2**31), length=st.integers(12, 64))
def test_a_query_is_short_and_near_what_it_should_find(text, number, seed, length):
    query, passage = PassagePairs(text, "prose", length, seed, query_length=10)[number]
    assert 8 <= len(query) <= 10
    assert len(passage) in {10, min(length, SIZES[passage[0] // 1000 - 1] // 2)}
    assert query[0] // 1000 == passage[0] // 1000
    assert abs(int(query[0]) - int(passage[0])) < 2 * (length + 10)
    for ids in (query, passage):
        assert (np.diff(ids.astype(int)) == 1).all()


def test_queries_have_all_lengths_and_some_find_texts_as_short(text):
    pairs = PassagePairs(text, "prose", 60, query_length=12)
    sizes = np.array([[len(side) for side in pairs[i]] for i in range(2000)])
    assert set(sizes[:, 0]) == {8, 9, 10, 11, 12}
    assert set(sizes[:, 1]) == {12, 15, 60}  # half of a document of 30 tokens, of 200, of 1,000
    assert (sizes[:, 1] == 12).mean() == pytest.approx(0.25, abs=0.04)


def test_sides_of_a_batch_are_as_wide_as_they_must_be(text):
    tokenizer = tokenizers.train(["a red circle"], 280)
    made = passage_batches(text, tokenizer, {"prose": 1.0}, 60, 8, 3, query_length=12)[0]
    assert made.first_BL.shape == made.first_mask_BL.shape == (8, 16)
    assert made.second_BM.shape == made.second_mask_BM.shape == (8, 64)


def test_what_cannot_give_a_pair_is_named(text):
    with pytest.raises(ValueError, match=r"stream must be one of prose, code. Got 'x' instead"):
        PassagePairs(text, "x", 16)
    with pytest.raises(ValueError, match=r"length must be at least 12. Got 4 instead"):
        PassagePairs(text, "prose", 4)
    for wrong in (7, 17):
        with pytest.raises(
            ValueError, match=rf"query_length must be from 8 to length.*Got {wrong}"
        ):
            PassagePairs(text, "prose", 16, query_length=wrong)
    short = text._replace(stream=np.array([1, 0, 1, 1, 1, 0]))
    with pytest.raises(ValueError, match=r"'prose' must hold a document of 24 tokens"):
        PassagePairs(short, "prose", 16)
