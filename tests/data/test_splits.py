"""Which split an item goes to: nothing is lost, and both sides have something."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_data import words

from tgp_multimodal.data.records import Document
from tgp_multimodal.data.splits import Keyed, cut_tail, split


def test_a_larger_share_keeps_what_a_smaller_one_took():
    items = [Keyed(None, unit, "s", unit) for unit in np.random.default_rng(0).random(500)]

    def validation(share):
        return {i for name, i in split(items, share) if name == "validation"}

    assert validation(0) == set()
    assert len(validation(1e-9)) == 1
    assert validation(1e-9) < validation(0.05) < validation(0.2)
    assert validation(0.2) == {k.unit for k in items if k.unit < 0.2}


def test_no_item_is_lost_and_every_stream_has_validation():
    random = np.random.default_rng(1)
    items = [Keyed(None, u, f"s{i % 3}", i) for i, u in enumerate(random.random(90))]
    out = list(split(items, 0.001))
    assert sorted(i for _, i in out) == list(range(90))
    for stream in range(3):
        chosen = [i for name, i in out if name == "validation" and i % 3 == stream]
        smallest = min((k for k in items if k.stream == f"s{stream}"), key=lambda k: k.unit)
        assert chosen == [smallest.item]


def test_fixed_splits_are_kept():
    items = [Keyed("test", 0.0, "s", 1), Keyed("validation", 0.9, "s", 2), Keyed(None, 0.5, "s", 3)]
    out = {item: name for name, item in split(items, 0.1)}
    assert out == {1: "test", 2: "validation", 3: "train"}


@given(
    st.lists(
        st.tuples(st.floats(0, 0.999).map(lambda u: round(u, 1)), st.sampled_from("ab")),
        max_size=8,
    ),
    st.sampled_from([0.05, 0.3, 0.9]),
    st.randoms(),
)
def test_both_splits_have_something_of_a_stream_and_equal_hashes_stay_together(rows, share, random):
    items = [
        Keyed(None, unit, stream, (number, unit)) for number, (unit, stream) in enumerate(rows)
    ]
    out = list(split(items, share))
    assert sorted(item for _, item in out) == sorted(k.item for k in items)
    stream = {k.item: k.stream for k in items}
    sides = {s: {name for name, i in out if stream[i] == s} for s in stream.values()}
    for name, found in sides.items():
        units = {k.unit for k in items if k.stream == name}
        assert found == ({"train", "validation"} if len(units) > 1 else {"train"})
    where = {}
    for name, item in out:
        assert where.setdefault((stream[item], item[1]), name) == name
    random.shuffle(items)
    assert sorted(split(items, share)) == sorted(out)


@pytest.mark.parametrize(("unit", "count"), [(0.001, 1), (0.5, 1), (0.5, 2), (0.5, 4)])
def test_few_large_documents_leave_little_to_validation(unit, count):
    text = "".join(words(1000))
    items = [Keyed(None, unit + i / 100, "s", Document(text, "s", "")) for i in range(count)]
    out = list(split(items, 0.02, cut_tail, lambda d: len(d.text)))
    assert sum(len(d.text) for _, d in out) == count * len(text)
    held_back = sum(len(d.text) for name, d in out if name == "validation")
    assert 0.01 < held_back / count / len(text) < 0.03


@pytest.mark.parametrize(
    "text",
    [
        "Title\n" + "word " * 20_000,  # the only line's end is at its beginning
        "word " * 20_000 + "\n",  # and at its end
        "".join(f"line {i}\n" for i in range(9_000)),
    ],
)
def test_a_document_is_cut_near_its_end_whatever_its_lines_are(text):
    (first, head), (second, tail) = cut_tail(Document(text, "s", ""), 0.02)
    assert (first, second) == ("train", "validation")
    assert head.text + tail.text == text
    assert 0.01 < len(tail.text) / len(text) < 0.03
    assert head.text[-1] in " \n"
