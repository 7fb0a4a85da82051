"""The stock tokenizer class reads every text as ours does."""

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tgp_multimodal.data.tokenizer import SPECIALS

MIXED = "\u00e9e\u0301\u212b\u0958\ufb01\u2460\uac00\u1100\u1161"  # what Unicode composes, and not


@pytest.fixture(scope="module")
def stock(tokenizer, tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_class_and_specials(stock, tokenizer):
    assert type(stock).__name__ == "Qwen2Tokenizer"
    assert stock.bos_token_id == tokenizer.bos
    assert stock.eos_token_id == tokenizer.eos
    assert stock.pad_token_id == tokenizer.pad
    assert stock("")["input_ids"] == [tokenizer.bos]
    assert set(stock.all_special_ids) == tokenizer.special
    assert len(stock) == tokenizer.vocabulary


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text("aZ09 \t\r\n'._(){}<|>\u00a0\u3000" + MIXED),
        st.from_regex(r"( {0,4}[0-9]{1,30}\r?\n)+"),
    )
)
@example(text=MIXED)
@example(text="a\r\n\r\n\tb   c  \n")
@example(text="\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea")
@example(text="\x00\x07\x7f\ufffd")
@example(text="1234567890" * 20)
@example(text="it's IT'S we'll \u2018quoted\u2019")
def test_same_ids_and_same_text_back(stock, tokenizer, text):
    assume(not any(special in text for special in SPECIALS))  # see the test below
    ids = tokenizer.encode(text, bos=True)
    assert stock(text)["input_ids"] == ids
    assert stock.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)


def test_specials_spelled_out_are_text_where_asked(stock, tokenizer):
    text = "<|bos|> a <|prefix|>b<|eos|>"
    assert stock(text, split_special_tokens=True)["input_ids"] == tokenizer.encode(text, bos=True)
    assert stock("<|prefix|>")["input_ids"] == [tokenizer.bos, tokenizer.prefix]


def test_padding_stands_on_the_right(stock, tokenizer):
    batch = stock(["a b c d", ""], padding=True)
    length = len(batch["input_ids"][0])
    assert batch["input_ids"][1] == [tokenizer.bos] + [tokenizer.pad] * (length - 1)
    assert batch["attention_mask"][1] == [1] + [0] * (length - 1)
