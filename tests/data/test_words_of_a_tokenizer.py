"""Where the words of a sentence stand among its ids."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

SENTENCE = ["The", "river", "(", "1912", ")", "froze", ",", "n't", "café", "東京", "½", "x-2", "Å"]

words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Z", "C", "M"]), min_size=1, max_size=8
).filter(str.strip)


def test_ids_are_those_of_the_joined_words(tokenizer):
    ((ids, spans),) = tokenizer.encode_words([SENTENCE])
    assert ids == tokenizer.encode(" ".join(SENTENCE))
    assert len(spans) == len(SENTENCE)
    assert all(begin < end for begin, end in spans)


@given(st.lists(words, min_size=1, max_size=12))
def test_a_span_is_its_word_and_the_words_before_and_after_it_are_not(tokenizer, sentence):
    ((ids, spans),) = tokenizer.encode_words([sentence])
    for number, (begin, end) in enumerate(spans):
        before, word, after = (
            unicodedata.normalize("NFC", " ".join(some))
            for some in (sentence[:number], [sentence[number]], sentence[number + 1 :])
        )
        assert tokenizer.decode(ids[:begin]).rstrip(" ") == before.rstrip(" ")
        assert tokenizer.decode(ids[begin:end]).removeprefix(" ") == word
        assert tokenizer.decode(ids[end:]).lstrip(" ") == after


def test_a_space_of_its_own_is_no_part_of_the_word(tokenizer):
    ((ids, spans),) = tokenizer.encode_words([["a", "5"]])
    assert [tokenizer.decode([i]) for i in ids] == ["a", " ", "5"]
    assert spans == [(0, 1), (2, 3)]


def test_special_tokens_are_plain_text(tokenizer):
    ((ids, spans),) = tokenizer.encode_words([["<|bos|>", "x"]])
    assert not tokenizer.special & set(ids)
    assert len(spans) == 2


def test_no_sentences_and_no_words(tokenizer):
    assert tokenizer.encode_words([]) == []
    assert tokenizer.encode_words([[]]) == [([], [])]


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_a_blank_word_is_refused(tokenizer, blank):
    with pytest.raises(ValueError, match=r"words must not be blank. Got \['a', "):
        tokenizer.encode_words([["a"], ["a", blank]])


def test_half_a_surrogate_pair_is_named(tokenizer):
    with pytest.raises(ValueError, match="text must be valid Unicode"):
        tokenizer.encode_words([["a", "\ud800"]])
