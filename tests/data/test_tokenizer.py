"""The tokenizer loses nothing, forges nothing and counts bytes exactly."""

import json
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.tokenizer import SPECIALS

TEXTS = [
    "The red circle is left of the blue square, isn't it? 1234 times.\n\n",
    "def add(a, b):\n    return a + b  # \u00fcber \u4f60\u597d \U0001f600\r\n",
] * 20

valid_text = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train(TEXTS, 330)


@given(text=valid_text)
def test_text_comes_back_with_its_characters_composed(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == normalize("NFC", text)


@given(raw=st.binary())
def test_any_bytes_as_text_come_back(tokenizer, raw):
    text = raw.decode("latin-1")
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=valid_text)
def test_byte_lengths_sum_to_the_length_in_utf8(tokenizer, text):
    lengths_V = tokenizer.byte_length_V
    composed = normalize("NFC", text)
    assert lengths_V[tokenizer.encode(text, bos=True)].sum() == len(composed.encode())


@given(parts=st.lists(st.sampled_from([*SPECIALS, "<|", "|>", "bos", " ", "a", "\n"])))
def test_specials_that_are_spelled_out_stay_plain(tokenizer, parts):
    text = "".join(parts)
    ids = tokenizer.encode(text)
    assert not tokenizer.special.intersection(ids)
    assert tokenizer.decode(ids) == text


def test_training_text_full_of_specials_makes_no_plain_token_of_them():
    trained = tokenizers.train(["".join(SPECIALS) * 50], 400)
    ids = trained.encode("".join(SPECIALS))
    assert not trained.special.intersection(ids)


def test_specials_are_ten_different_ids_of_no_bytes(tokenizer):
    assert len(tokenizer.special) == len(SPECIALS)
    assert not tokenizer.byte_length_V[sorted(tokenizer.special)].any()
    assert (np.delete(tokenizer.byte_length_V, sorted(tokenizer.special)) > 0).all()


def test_decode_leaves_specials_out_and_marks_broken_bytes(tokenizer):
    ids = tokenizer.encode("\u4f60", bos=True)
    assert tokenizer.decode([*ids, tokenizer.eos]) == "\u4f60"
    single = tokenizers.train(["x"], 266)
    assert single.decode(single.encode("\u4f60")[:-1]) == "\ufffd"


def test_bos_only_where_asked_for(tokenizer):
    assert tokenizer.encode("", bos=True) == [tokenizer.bos]
    assert tokenizer.encode("") == []
    assert tokenizer.encode_batch(["a", "b"], bos=True) == [
        [tokenizer.bos, *tokenizer.encode("a")],
        [tokenizer.bos, *tokenizer.encode("b")],
    ]


def test_half_a_surrogate_pair_is_named(tokenizer):
    with pytest.raises(ValueError, match=r"text must be valid Unicode\. Got '\\ud800' at char"):
        tokenizer.encode("a\ud800b")


def test_training_is_reproducible_and_merges(tokenizer):
    again = tokenizers.train(iter(TEXTS), 330)
    assert again.digest == tokenizer.digest
    assert tokenizer.vocabulary == 330
    assert len(tokenizer.encode(TEXTS[0])) < 0.7 * len(TEXTS[0].encode())


def test_saved_and_loaded_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "folder")
    loaded = tokenizers.load(tmp_path / "folder")
    text = "<|eos|> The red \u00e9\u00e8 circle\n"
    assert loaded.digest == tokenizer.digest
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.special == tokenizer.special
    assert (loaded.byte_length_V == tokenizer.byte_length_V).all()


def test_truncation_and_padding_of_the_file_are_left_out(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    stored = Backend.from_file(str(tmp_path / "tokenizer.json"))
    stored.enable_truncation(4)
    stored.enable_padding(length=6, pad_id=tokenizer.pad)
    stored.save(str(tmp_path / "tokenizer.json"))
    loaded = tokenizers.load(tmp_path)
    assert loaded.encode_batch(["a", TEXTS[0]]) == tokenizer.encode_batch(["a", TEXTS[0]])
    words = [TEXTS[0].split(), ["a"]]
    assert loaded.encode_words(words) == tokenizer.encode_words(words)
    assert loaded.digest == tokenizer.digest


def test_digest_changes_with_the_vocabulary(tokenizer):
    assert tokenizers.train(TEXTS, 331).digest != tokenizer.digest


def test_vocabulary_must_hold_bytes_and_specials():
    with pytest.raises(ValueError, match=r"vocabulary must be at least 266 .* Got 265 instead\."):
        tokenizers.train(TEXTS, 265)


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_training_on_nothing_is_refused(texts):
    with pytest.raises(ValueError, match=r"texts must hold at least one .* Got none instead\."):
        tokenizers.train(texts, 300)


def test_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"folder with a tokenizer\.json\. Got .* instead\."):
        tokenizers.load(tmp_path)


def test_broken_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{broken")
    with pytest.raises(ValueError, match=r"must be a whole tokenizer\.json\. Got .* instead\."):
        tokenizers.load(tmp_path)


def test_tokenizer_without_our_specials_is_refused(tokenizer, tmp_path):
    content = json.loads(tokenizer.backend.to_str())
    gone = [t["id"] for t in content["added_tokens"] if t["content"] == "<|mask|>"]
    content["added_tokens"] = [t for t in content["added_tokens"] if t["id"] not in gone]
    content["model"]["vocab"].pop("<|mask|>", None)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"Got one without <\|mask\|> instead\."):
        tokenizers.load(tmp_path)
