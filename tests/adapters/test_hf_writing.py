"""What models of transformers write: spaces kept, gaps ended, states of text alone."""

import numpy as np
import pytest
import stock_models
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from tgp_multimodal.adapters import make
from tgp_multimodal.adapters.hf_reading import StockTokenizer
from tgp_multimodal.evaluation.requests import Embed, Generate


@pytest.fixture
def sentencepiece() -> PreTrainedTokenizerFast:
    """A tokenizer that drops the space at the start of what it decodes, as Llama's does."""
    pieces = ["<s>", "</s>", "▁a", "▁", "▁▁▁", "▁return", "▁yes", "x"]
    tokenizer = Tokenizer(models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token="x"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def test_what_is_written_keeps_the_space_that_it_begins_with(sentencepiece):
    assert sentencepiece.decode([4, 5]) == "   return"  # a column is lost
    words = StockTokenizer(sentencepiece)
    assert words.decode_batch([[4, 5], [6], [7], []]) == ["    return", " yes", "x", ""]
    assert words.decode_batch([[6, 1]], skip_special_tokens=True) == [" yes"]


def test_a_middle_ends_at_a_mark_of_gaps_and_other_text_does_not(tokenizer, tmp_path, monkeypatch):
    model = make(f"hf:{stock_models.causal(tmp_path / 'gpt2', tokenizer, 'gpt2')}")
    fim_tokens = model.tokenizer.fim_tokens
    assert {fim_tokens.prefix, fim_tokens.suffix, fim_tokens.middle} <= set(
        model.tokenizer.middle_ends
    )
    asked: list[set[int]] = []
    generate = model.model.generate

    def noted(*given, **settings):
        asked.append(set(settings["generation_config"].eos_token_id))
        return generate(*given, **settings)

    monkeypatch.setattr(model.model, "generate", noted)
    model.answer([Generate("The river", 4, suffix=" froze."), Generate("The river", 4)])
    assert sorted(map(len, asked))[0] == 1
    assert {fim_tokens.middle} < max(asked, key=len)


def test_a_dual_encoder_gives_the_states_of_its_text_tower(tokenizer, tmp_path):
    text = {
        "vocab_size": tokenizer.vocabulary, "hidden_size": 16, "intermediate_size": 16,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 16, "patch_size": 8,
    }  # fmt: skip
    stock = CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).eval()
    stock.save_pretrained(tmp_path / "clip")
    tokenizer.save(tmp_path / "clip")
    model = make(f"hf:{tmp_path / 'clip'}")
    ids = torch.tensor(
        [[*model.tokenizer.front, *model.tokenizer.encode("a river"), *model.tokenizer.back]]
    )
    with torch.no_grad():
        wanted = stock.text_model(input_ids=ids).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(model.answer([Embed("a river")])[0], wanted, atol=1e-5)
