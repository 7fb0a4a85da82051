"""Tokenizers of transformers whose ids say nothing of a text."""

import json

import pytest
import stock_models
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tgp_multimodal.adapters import make
from tgp_multimodal.evaluation.requests import Embed, Perplexity, Score


def test_a_folder_without_a_tokenizer_is_refused(tokenizer, tmp_path):
    folder = stock_models.causal(tmp_path / "gpt2", tokenizer, "gpt2")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"tokenizer must |that transformers opens"):
        make(f"hf:{folder}")


def test_an_end_of_text_in_a_text_is_not_unknown_to_bytes(tokenizer, tmp_path):
    folder = stock_models.causal(tmp_path / "gpt2", tokenizer, "gpt2")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    stock = make(f"hf:{folder}").tokenizer.stock
    settings["unk_token"] = stock.eos_token
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = make(f"hf:{folder}")
    assert model.tokenizer.stock.unk_token_id == stock.eos_token_id
    (answer,) = model.answer([Perplexity(f"a river {stock.eos_token} a boat")])
    assert answer.nats > 0


def test_what_has_no_id_of_its_own_has_no_likelihood(tokenizer, tmp_path):
    folder = stock_models.causal(tmp_path / "gpt2", tokenizer, "gpt2")
    words = {"[UNK]": 0, "[EOS]": 1, "a": 2, "river": 3}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"unk_token": "[UNK]", "eos_token": "[EOS]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **named).save_pretrained(folder)
    model = make(f"hf:{folder}")
    assert model.answer([Perplexity("a river"), Perplexity("a a")])[0].tokens == 2
    for request in (Perplexity("a boat"), Score("a", " boat"), Score("boat", " a")):
        with pytest.raises(ValueError, match=r"known to the tokenizer\. Got its \[UNK\] in"):
            model.answer([request])
    assert len(model.answer([Embed("a boat")])) == 1  # features are what they are
