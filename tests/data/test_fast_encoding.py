"""The ids are those of the tokenizer itself, whatever the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from tgp_multimodal.data import fast_encoding
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.fast_encoding import FastEncoder, encode_shared_lines
from tgp_multimodal.data.tokenizer import SPECIALS

TEXTS = [
    "The red circle is left of the blue square, isn't it? We'LL see 1234 times.\n\n",
    "def add(a, b):\n    return a + b  # \u00fcber \u4f60\u597d \U0001f600\r\n",
] * 20
PARTS = ["'s", "'", "s", "S", "'Ll", "a", "\u00e9", "e\u0301", "\u0301", "\u0416", "1", "\u00bd"]
PARTS += [" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u2028", "\x1c", "\x85", "\u017f", "_"]
PARTS += [".", "--", "\u201c", "\u20ac", "\u4f60", "\u0e01\u0e33", "\U0001f600", "\0", *SPECIALS]


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train(TEXTS, 400)


@pytest.fixture(autouse=True)
def _used(monkeypatch):
    monkeypatch.setattr(fast_encoding, "_MANY_CORES", 10**6)


def same(tokenizer, texts):
    found = [ids.tolist() for ids in FastEncoder(tokenizer).encode_batch(texts)]
    assert found == tokenizer.encode_batch(texts)
    assert encode_shared_lines(tokenizer, texts) == found


@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), max_size=4))
def test_any_order_of_awkward_parts(tokenizer, texts):
    same(tokenizer, texts)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_any_text(tokenizer, texts):
    same(tokenizer, texts)


def test_every_character_that_is_cut_here(tokenizer):
    known = [chr(i) for i in range(0x3000) if fast_encoding._PLAIN.fullmatch(chr(i))]
    assert len(known) > 500
    same(tokenizer, [f"a{c}b {c}{c}1{c}\n{c} {c}'{c} \n  {c}s" for c in known])


def test_words_are_forgotten_and_long_ones_never_remembered(tokenizer, monkeypatch):
    monkeypatch.setattr(fast_encoding, "_REMEMBERED", 3)
    monkeypatch.setattr(fast_encoding, "_LONGEST", 4)
    encoder = FastEncoder(tokenizer)
    for texts in (["one two three four"], ["five one twotwo"], ["six"]):
        assert encoder.encode_batch(texts)[0].tolist() == tokenizer.encode_batch(texts)[0]
    assert set(encoder.ids) == {"six"}


def test_another_tokenizer_is_used_as_it_is(tokenizer):
    other = tokenizers.train(TEXTS, 300)
    other.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert not FastEncoder(other).is_used
    same(other, [*TEXTS[:2], "one\ntwo"])
    assert FastEncoder(tokenizer).is_used


def test_half_a_surrogate_pair_is_named(tokenizer):
    with pytest.raises(ValueError, match=r"text must be valid Unicode\. Got"):
        FastEncoder(tokenizer).encode_batch(["fine", "a\ud800b"])
    with pytest.raises(ValueError, match=r"text must be valid Unicode\. Got"):
        encode_shared_lines(tokenizer, ["fine", "a\ud800b"])


def test_lines_in_common_are_encoded_once(tokenizer, monkeypatch):
    seen = []
    encode = tokenizer.encode_batch
    monkeypatch.setattr(
        tokenizer, "encode_batch", lambda texts: seen.extend(texts) or encode(texts)
    )
    shots = "Question: one?\nAnswer: two\n\n"
    texts = [f"{shots}Question: {word}?" for word in ("red", "blue")]
    found = encode_shared_lines(tokenizer, texts)
    assert len(seen) == len(set(seen)) == 4
    assert found == encode(texts)
