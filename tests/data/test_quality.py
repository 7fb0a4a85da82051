"""The numbers of a stream are what one would count by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgp_multimodal.data import quality as work
from tgp_multimodal.data.quality import Quality, character_kinds
from tgp_multimodal.data.records import Document


def numbers(texts, lengths=(1,)):
    counted = Quality()
    for text in texts:
        counted.add(Document(text, "s", ""))
    return counted.numbers({"s": np.array(lengths)})["s"]


def test_sizes_and_lengths():
    found = numbers(["ab\u00e9", "cdef"], [3, 4])
    assert (found["documents"], found["bytes"], found["characters"]) == (2, 8, 7)
    assert (found["tokens"], found["bytes_per_token"]) == (7, round(8 / 7, 6))
    assert (found["mean_length"], found["median_length"], found["longest"]) == (3.5, 3.5, 4)


def test_lines_are_repeated_within_a_document():
    assert numbers(["a\nb\n\n a\na\n"])["repeated_lines"] == 0.5
    assert numbers(["a\nb", "a\nb"])["repeated_lines"] == 0
    assert numbers([" \n \n"])["repeated_lines"] == 0


@pytest.mark.parametrize(
    ("text", "share"),
    [("ab 12\n", 0), ("a+b", 1 / 3), ("{}", 1), ("नमस्ते दुनिया", 0), ("日本語", 0), ("e\u0301", 0)],
)
def test_letters_of_all_scripts_are_alphanumeric(text, share):
    assert numbers([text])["non_alphanumeric"] == round(share, 6)


def test_replacement_characters_are_counted_among_the_others():
    found = numbers(["abc\ufffd"])
    assert (found["replacement_characters"], found["non_alphanumeric"]) == (0.25, 0.25)


@given(st.text(max_size=60))
def test_every_character_has_one_kind(text):
    kinds = character_kinds(text)
    assert kinds.sum() == len(text)
    assert kinds[2] == sum(map(str.isspace, text))
    assert kinds[3] == text.count("\ufffd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "_PIECE", 7)
        assert (character_kinds(text) == kinds).all()


def test_streams_are_apart_and_one_of_copies_alone_has_no_shares():
    counted = Quality()
    counted.add(Document("a b", "first", ""))
    for kind in ("exact", "near", "near"):
        counted.drop("second", kind)
    found = counted.numbers({"first": np.array([3])})
    assert list(found) == ["first", "second"]
    assert (found["second"]["exact_duplicates"], found["second"]["near_duplicates"]) == (1, 2)
    assert {v for k, v in found["second"].items() if "duplicates" not in k} == {0}
    assert found["first"]["near_duplicates"] == 0
