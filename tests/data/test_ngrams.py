"""Hashes of words and n-grams: equal for equal words, whatever stands between and around them."""

import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgp_multimodal.data import ngrams as work
from tgp_multimodal.data.ngrams import ngrams, words

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), max_size=40)


@given(WORDS, st.sampled_from([" ", "\n", ", ", " -- "]))
def test_case_and_what_stands_between_words_do_not_matter(some, gap):
    assert words(gap.join(some)).tolist() == words(" ".join(some).upper()).tolist()
    assert len(words(gap.join(some))) == len(some)


@given(WORDS, WORDS, st.integers(1, 8))
def test_grams_are_equal_where_the_words_are(first, second, n):
    def runs(some):
        size = min(n, len(some))
        return [tuple(some[i : i + size]) for i in range(len(some) - size + 1)] if some else []

    pairs = [
        pair
        for some in (first, second)
        for pair in zip(runs(some), ngrams(words(" ".join(some)), n).tolist(), strict=True)
    ]
    assert len(set(pairs)) == len({run for run, _ in pairs}) == len({gram for _, gram in pairs})


def test_an_accent_may_be_typed_in_two_ways():
    text = "Caf\u00e9 na\u00efve"
    assert words(text).tolist() == words(unicodedata.normalize("NFD", text)).tolist()
    assert words(text).tolist() != words("Cafe naive").tolist()


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("... !", 0), ("日本語 ab", 4), ("x" * 130, 3)]
)
def test_how_many_words_a_text_has(text, count):
    assert len(words(text)) == count


@given(st.text(alphabet="ab \n.", max_size=200))
def test_long_texts_are_cut_between_words(text):
    whole = words(text).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "_PIECE", 7)
        assert words(text).tolist() == whole


def test_hashes_are_the_same_in_every_process():
    text = "the same hash in every process"
    program = f"from tgp_multimodal.data.ngrams import *; print(*ngrams(words({text!r}), 5))"
    out = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert [int(n) for n in out.split()] == ngrams(words(text), 5).tolist()


def test_grams_are_spread_over_all_values():
    grams = ngrams(words(" ".join(map(str, range(20_000)))), 13)
    counts = np.bincount((grams >> np.uint64(60)).astype(np.int64), minlength=16)
    assert np.abs(counts / len(grams) - 1 / 16).max() < 0.01
