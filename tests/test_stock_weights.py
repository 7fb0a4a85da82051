"""A run can start from the weights of any stock Qwen3 folder."""

import json

import pytest
import torch

from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.stock_weights import shape, start_from


def stock(folder, **more):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(1)
    settings = {
        "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 64, "tie_word_embeddings": True, "initializer_range": 0.2,
    }  # fmt: skip
    model = Qwen3ForCausalLM(Qwen3Config(**settings | more)).eval()
    model.save_pretrained(folder, max_shard_size="20KB" if more.get("vocab_size") else "1GB")
    return model


@pytest.mark.parametrize("more", [{}, {"vocab_size": 70}], ids=["one file", "several files"])
@torch.no_grad()
def test_the_forward_pass_equals_the_stock_one(tmp_path, more):
    model = stock(tmp_path, **more)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == bool(more)
    text = TextTransformer(**shape(tmp_path)).eval()
    start_from(text, tmp_path)
    token_BL = torch.randint(0, 50, (3, 20), generator=torch.Generator().manual_seed(0))
    theirs = model(token_BL).logits
    assert theirs.abs().max() > 1
    assert (text.logits(text(token_BL)) - theirs).abs().max() <= 1e-5


def test_a_run_starts_from_it_and_says_what_does_not_fit(arguments_of_a_run, tmp_path):
    from tgp_multimodal.training.module import TrainingModule

    stock(tmp_path)
    network, objectives = arguments_of_a_run(TextTransformer(**shape(tmp_path)))
    TrainingModule(network, objectives, init_from=str(tmp_path))
    table = network.text.embed_tokens.weight
    assert table.std().item() == pytest.approx(0.2, rel=0.1)  # ours begin at 0.02
    other, objectives = arguments_of_a_run(TextTransformer(50, 32, 3, 48, 4, 2, 64))
    with pytest.raises(ValueError, match=r"must have the shape of .*: depth: 2. Got depth: 3"):
        TrainingModule(other, objectives, init_from=str(tmp_path))


@pytest.fixture
def arguments_of_a_run():
    from tgp_multimodal.models.networks import LanguageModel
    from tgp_multimodal.objectives.language import HybridLanguage

    return lambda text: (LanguageModel(text), {"text": HybridLanguage()})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "llama", r"must hold a model of type qwen3. Got 'llama' instead"),
        ("tie_word_embeddings", False, r"tie_word_embeddings .* must be True. Got False instead"),
        ("attention_bias", True, r"attention_bias .* must be False. Got True instead"),
        ("rms_norm_eps", 1e-5, r"rms_norm_eps .* must be 1e-06. Got 1e-05 instead"),
        ("rope_parameters", {"type": "linear", "factor": 4}, r"rope_type .* must be default"),
        ("head_dim", 16, r"head_dim .* must be 8. Got 16 instead"),
    ],
)
def test_models_with_other_parts_are_named(tmp_path, key, value, message):
    stock(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=message):
        shape(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"init_from must be a folder with a config.json"):
        shape(tmp_path / "none")
    stock(tmp_path)
    text = TextTransformer(**shape(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"must be a whole safetensors file"):
        start_from(text, tmp_path)
