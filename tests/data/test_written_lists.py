import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgp_multimodal.data.written_lists import members

texts = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8))


@given(texts, st.booleans())
def test_a_list_as_json_writes_it(captions, ascii):
    assert members(json.dumps(captions, ensure_ascii=ascii)) == captions


@given(texts)
def test_a_list_as_python_writes_it(captions):
    assert members(repr(captions)) == captions
    assert members(repr([*captions, None])) == captions


@given(st.lists(st.text("abc '\",.é😀", min_size=1, max_size=9), min_size=1, max_size=9))
def test_an_array_in_a_table_has_no_commas(captions):
    assert members(str(np.array(captions, dtype=object))) == captions


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (r'["a\/b"]', ["a/b"]),
        (r'["\ud83d\ude00"]', ["😀"]),
        ('["a", null]', ["a"]),
        ("[nan, 'a']", ["a"]),
        ("[]", []),
        ("[null]", []),
        (" ['a',\n 'b'] ", ["a", "b"]),
    ],
)
def test_what_others_write(cell, said):
    assert members(cell) == said


@pytest.mark.parametrize(
    "cell",
    [
        "[{{0}}]",
        "[red] square",
        "[red]",
        "[1, 2]",
        "[b'a']",
        "['a']['b']",
        "[*'ab']",
        "['a'",
        "['a' + 'b']",
        "[" * 5000,
        "[\0]",
        r"['\N{no}']",
        '"a"',
    ],
)
def test_what_is_no_list_of_texts(cell):
    assert members(cell) is None
