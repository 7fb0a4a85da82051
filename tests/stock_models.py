"""Tiny models of foreign libraries in folders, every weight random: nothing is downloaded."""

import json
from pathlib import Path
from typing import Any

from random_networks import randomise

from tgp_multimodal.data.tokenizer import Tokenizer

VOCABULARY = 320
SIZES = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def causal(folder: Path, tokenizer: Tokenizer, family: str, **settings: Any) -> Path:
    """A causal language model: gpt2, gemma2 (caps, windows), bloom (bias by distance), mamba.

    Or one that has the head and is none: xlnet, xlm, bert.
    """
    import transformers

    named = {
        "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 96}),
        "gemma2": (
            "Gemma2Config",
            {
                "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
                "sliding_window": 90, "final_logit_softcapping": 2.0,
                "max_position_embeddings": 96,
            },
        ),
        "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 2}),
        "xlnet": ("XLNetConfig", {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48}),
        "xlm": ("XLMConfig", {"emb_dim": 32, "n_layers": 2, "n_heads": 2}),
        "bert": (
            "BertConfig",
            {
                "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                "num_attention_heads": 2,
            },
        ),
        "mamba": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    }  # fmt: skip
    name, sizes = named[family]
    config = getattr(transformers, name)(**{**SIZES, **sizes, **settings})
    model = transformers.AutoModelForCausalLM.from_config(config)
    randomise(model)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    _limit(folder, 96)
    return folder


def masked(folder: Path, texts: list[str], family: str = "bert", limit: int | None = 32) -> Path:
    """A masked language model with a WordPiece vocabulary of the texts, or ELECTRA's two halves.

    The network has 40 positions; the tokenizer says `limit`, or nothing.
    """
    import transformers

    words = sorted({word for text in texts for word in text.lower().split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*special, *words]), encoding="utf-8")
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"), model_max_length=limit)
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 48, "max_position_embeddings": 40,
    }  # fmt: skip
    name, kind = {
        "bert": ("BertConfig", "MaskedLM"),
        "roberta": ("RobertaConfig", "MaskedLM"),
        "bert tagger": ("BertConfig", "TokenClassification"),
        "mpnet": ("MPNetConfig", "MaskedLM"),
        "electra generator": ("ElectraConfig", "MaskedLM"),
        "electra discriminator": ("ElectraConfig", "PreTraining"),
    }[family]
    config = getattr(transformers, name)(**sizes, pad_token_id=0)
    model = getattr(transformers, f"AutoModelFor{kind}").from_config(config)
    randomise(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def open_clip_model(folder: Path) -> Path:
    """A dual encoder of open_clip with its own settings file."""
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    settings = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16,
                       "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2,
                     "layers": 2},
    }  # fmt: skip
    model = CLIP(**settings)
    randomise(model)
    folder.mkdir(parents=True)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": settings}))
    return folder


def _limit(folder: Path, most: int) -> None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"model_max_length": most}))
