import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.packing import PackedRows, hash_unit, to_fim
from tgp_multimodal.data.prepared import TextSplit


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train(["one two three four"], 270)


def split_of(documents, streams=None):
    sizes = [len(d) for d in documents]
    return TextSplit(
        np.concatenate([np.asarray(d, dtype=np.uint16) for d in documents]),
        np.concatenate(([0], np.cumsum(sizes))),
        np.asarray(streams or [0] * len(documents), dtype=np.uint8),
        ("prose", "code"),
    )


def documents_in(rows, tokenizer):
    """Documents of the rows of one epoch, put back into the order of the concatenation."""
    joined = np.concatenate(rows)
    starts = np.flatnonzero(joined == tokenizer.bos)
    return [tuple(joined[a + 1 : b - 1]) for a, b in pairwise(starts)]


@given(
    sizes=st.lists(st.integers(1, 40), min_size=3, max_size=12),
    length=st.integers(4, 30),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_the_rows_of_an_epoch_hold_every_document_once(sizes, length, seed, tokenizer):
    documents = [[20 + i] * size for i, size in enumerate(sizes)]
    if sum(sizes) + 2 * len(sizes) < length:
        return
    packed = PackedRows(split_of(documents), "prose", length, tokenizer, seed)
    shuffled, _, order = packed._epoch(0)
    rows = [packed[int(np.flatnonzero(order == i)[0])].token_L for i in range(packed.per_epoch)]
    found = documents_in(rows, tokenizer)
    kept = (sum(sizes) + 2 * len(sizes)) // length * length
    assert len(np.concatenate(rows)) == kept
    assert sorted(shuffled) == list(range(len(documents)))
    ends = np.cumsum([sizes[number] + 2 for number in shuffled])
    whole = [tuple(documents[n]) for n, end in zip(shuffled, ends, strict=True) if end < kept]
    assert found == whole  # the last of them is whole only if another begins behind it


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    length=st.integers(1, 30),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_rows_are_cuts_of_all_documents_one_after_another(sizes, length, seed, tokenizer):
    documents = [list(range(20, 20 + size)) for size in sizes]
    if sum(sizes) + 2 * len(sizes) < length:
        return
    packed = PackedRows(split_of(documents), "prose", length, tokenizer, seed)
    shuffled, _, order = packed._epoch(0)
    joined = np.concatenate(
        [[tokenizer.bos, *documents[number], tokenizer.eos] for number in shuffled]
    )
    for number, place in enumerate(order):
        row = packed[number].token_L
        assert row.dtype == np.int64
        assert row.tolist() == joined[place * length : (place + 1) * length].tolist()


def test_a_row_of_a_long_document_costs_no_copy_of_it(tokenizer):
    packed = PackedRows(split_of([[20] * 1_000_000]), "prose", 64, tokenizer)
    packed[0]
    tracemalloc.start()
    try:
        for number in range(9):
            packed[number]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100_000  # bytes; the document has two million


def test_positions_restart_where_a_document_or_the_row_starts(tokenizer):
    packed = PackedRows(split_of([[20] * 5, [21] * 9, [22] * 7]), "prose", 6, tokenizer, seed=3)
    for number in range(packed.per_epoch):
        row = packed[number]
        restarts = np.flatnonzero(row.position_L == 0)
        assert set(restarts) == {0} | set(np.flatnonzero(row.token_L == tokenizer.bos))
        assert (np.diff(row.position_L)[np.setdiff1d(np.arange(1, 6), restarts) - 1] == 1).all()


def test_a_row_does_not_depend_on_what_was_read_before(tokenizer):
    documents = [[20 + i] * (7 * i + 3) for i in range(9)]
    one, other = (PackedRows(split_of(documents), "prose", 16, tokenizer, 5) for _ in range(2))
    forwards = [one[i].token_L for i in range(40)]
    for number in (39, 3, 17, 0, 25):
        assert (other[number].token_L == forwards[number]).all()


def test_epochs_differ_and_so_do_seeds(tokenizer):
    documents = [[20 + i] * 9 for i in range(30)]
    packed = PackedRows(split_of(documents), "prose", 16, tokenizer, 5)
    count = packed.per_epoch
    first, second = (
        np.stack([packed[e * count + i].token_L for i in range(count)]) for e in (0, 1)
    )
    assert (first != second).any()
    other = PackedRows(split_of(documents), "prose", 16, tokenizer, 6)
    assert (np.stack([other[i].token_L for i in range(count)]) != first).any()


def test_only_the_named_stream_is_read(tokenizer):
    packed = PackedRows(split_of([[20] * 30, [21] * 30], [0, 1]), "code", 8, tokenizer)
    assert {20} & {int(t) for i in range(len(packed)) for t in packed[i].token_L} == set()


def test_infilling_keeps_every_token_of_the_piece_in_its_place(tokenizer):
    documents = [list(range(20, 20 + 200))]
    packed = PackedRows(split_of(documents), "prose", 64, tokenizer, seed=1, infill=1.0)
    seen = set()
    for number in range(9):
        row = packed[number]
        assert row.is_infill
        ids = row.token_L.tolist()
        start = ids.index(tokenizer.bos)
        assert ids[start + 1] == tokenizer.prefix
        suffix, middle = ids.index(tokenizer.suffix), ids.index(tokenizer.middle)
        end = ids.index(tokenizer.eos, middle)
        whole = ids[start + 2 : suffix] + ids[middle + 1 : end] + ids[suffix + 1 : middle]
        assert whole == list(range(whole[0], whole[0] + len(whole)))  # the count goes on unbroken
        seen.add((suffix - start, end - middle))
    assert len(seen) > 3  # the cuts differ from row to row


def test_infilling_leaves_a_row_of_crumbs_alone(tokenizer):
    packed = PackedRows(split_of([[20] * 5] * 20), "prose", 32, tokenizer)
    assert (
        to_fim(packed[0], tokenizer, 0) is packed[0]
        or not to_fim(packed[0], tokenizer, 0).is_infill
    )


def test_the_hash_is_even_and_depends_on_each_counter():
    values = np.array([hash_unit(7, 1, n) for n in range(4000)])
    assert abs(values.mean() - 0.5) < 0.02
    assert abs(values.var() - 1 / 12) < 0.005
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.05
    assert hash_unit(7, 1, 2) != hash_unit(7, 2, 1) != hash_unit(8, 2, 1)


def test_too_little_text_and_unknown_streams_are_refused(tokenizer):
    with pytest.raises(ValueError, match=r"at least one row of 64 tokens. Got 12 tokens instead"):
        PackedRows(split_of([[20] * 10]), "prose", 64, tokenizer)
    with pytest.raises(ValueError, match=r"stream must be one of prose, code. Got 'cod' instead"):
        PackedRows(split_of([[20] * 10]), "cod", 4, tokenizer)
