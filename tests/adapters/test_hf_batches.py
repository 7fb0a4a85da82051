"""Answers of models of transformers depend on no other text: not beside it, not before it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stock_models
import torch
import transformers
from transformers import AutoTokenizer

from tgp_multimodal.adapters import make
from tgp_multimodal.adapters.hf_reading import logits_at, of_one_length
from tgp_multimodal.evaluation.requests import Embed, MaskedScore
from tgp_multimodal.inference.text_features import LAYERS

TEXTS = ["the dog", "she opened the letter, read it twice", "the bridge", "a dog ran " * 9]
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 128, "pad_token_id": 0, "initializer_range": 0.2,
}  # fmt: skip


def masked_model(folder: Path, corpus: list[str], family: str, **settings: Any) -> Path:
    """A masked language model of any family, with the tokenizer of the stock models."""
    stock_models.masked(folder, corpus, limit=None)
    size = len(AutoTokenizer.from_pretrained(folder))
    config = getattr(transformers, f"{family}Config")(**SIZES | settings, vocab_size=size)
    getattr(transformers, f"{family}ForMaskedLM")(config).save_pretrained(folder)
    return folder


def passes(model: Any) -> list[None]:
    """As many entries as the encoder reads batches from now on."""
    found: list[None] = []
    model.encoder.register_forward_pre_hook(lambda *_: found.append(None))
    return found


@pytest.mark.parametrize(
    ("family", "settings", "may_pad"),
    [
        ("FNet", {}, False),
        ("ConvBert", {"embedding_size": 32}, False),
        ("Bert", {}, True),
    ],
)
def test_no_answer_depends_on_what_is_beside_it(family, settings, may_pad, corpus, tmp_path):
    model = make(f"hf:{masked_model(tmp_path / 'model', corpus, family, **settings)}")
    alone = [model.answer([Embed(t, v) for v in ("", LAYERS)]) for t in TEXTS]
    read = passes(model)
    together = model.answer([Embed(t, v) for t in TEXTS for v in ("", LAYERS)])
    for one, other in zip((v for pair in alone for v in pair), together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert len(read) == (1 if may_pad else 3)  # two texts have one length
    read.clear()
    model.answer([Embed(text) for text in TEXTS])  # it was asked once
    assert len(read) == (1 if may_pad else 3)
    together = model.answer([MaskedScore(text) for text in TEXTS])
    for text, answer in zip(TEXTS, together, strict=True):
        assert model.answer([MaskedScore(text)])[0].nats == pytest.approx(answer.nats, abs=1e-3)


@pytest.mark.parametrize(("family", "minds_padding"), [("FNet", True), ("Bert", False)])
def test_no_sentence_vector_depends_on_what_is_beside_it(family, minds_padding, corpus, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    folder = masked_model(tmp_path / "model", corpus, family)
    library.SentenceTransformer(str(folder)).save(str(tmp_path / "encoder"))
    model = make(f"st:{tmp_path / 'encoder'}")
    together = model.answer([Embed(text) for text in TEXTS])
    assert model._minds_padding == minds_padding
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(model.answer([Embed(text)])[0], vector, atol=1e-4)


def test_texts_of_one_length_are_read_together():
    assert list(of_one_length([3, 5, 3, 0, 3, 5], 6)) == [[0, 2], [4], [1], [5], [3]]
    assert list(of_one_length([], 6)) == []


def test_a_head_that_is_not_called_is_no_obstacle(corpus, tmp_path):
    sizes = {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 1}
    model = make(f"hf:{masked_model(tmp_path / 'model', corpus, 'MobileBert', **sizes)}")
    generator = torch.Generator().manual_seed(0)
    token_BL = torch.randint(5, 60, (3, 7), generator=generator)
    place = ([0, 2, 2, 1], [1, 6, 0, 3])
    with torch.no_grad():
        expected_NV = model.model(input_ids=token_BL).logits[place]
        found_NV = logits_at(model.model, place, input_ids=token_BL)
    torch.testing.assert_close(found_NV, expected_NV)
    (answer,) = model.answer([MaskedScore("the river")])
    row = [2, *model.tokenizer.encode("the river"), 3]
    nats = 0.0
    for at in (1, 2):
        hidden = torch.tensor([[4 if i == at else token for i, token in enumerate(row)]])
        with torch.no_grad():
            nats += float(model.model(hidden).logits[0, at].double().log_softmax(-1)[row[at]])
    assert answer.nats == pytest.approx(nats, abs=1e-4)


@pytest.mark.parametrize("weights", ["", "@random"])
def test_a_short_text_does_not_change_how_long_ones_are_read(weights, corpus, tmp_path):
    sizes = {"block_size": 4, "num_random_blocks": 1, "attention_type": "block_sparse"}
    folder = masked_model(tmp_path / "model", corpus, "BigBird", **sizes)
    model, text = make(f"hf:{folder}{weights}"), "the river carried thin plates " * 16
    digest = model.facts()["digest"]
    before = model.answer([Embed(text)])
    model.answer([Embed("a dog")])
    np.testing.assert_array_equal(model.answer([Embed(text)]), before)
    assert model.model.config.attention_type == "original_full"  # the digest says so
    assert model.facts()["digest"] == digest


def test_a_decoder_that_names_the_sparse_attention_of_an_encoder_opens(corpus, tmp_path):
    stock_models.masked(tmp_path / "model", corpus, limit=None)
    sizes = {
        "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 48,
        "vocab_size": len(AutoTokenizer.from_pretrained(tmp_path / "model")), "pad_token_id": 0,
        "max_position_embeddings": 128,
    }  # fmt: skip
    config = transformers.BigBirdPegasusConfig(**sizes)
    transformers.BigBirdPegasusForCausalLM(config).save_pretrained(tmp_path / "model")
    (vector_D,) = make(f"hf:{tmp_path / 'model'}").answer([Embed("a dog")])
    assert np.isfinite(vector_D).all()
