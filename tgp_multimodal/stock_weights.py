"""Initialises the text transformer of a run from a stock Qwen3 folder.

What `transformers` wrote for `Qwen3ForCausalLM` or `Qwen3Model`, in one safetensors file or in
several, is loaded without renaming. Token embeddings must be tied to the output head, the size of
an attention head must be width / heads, and no projection may have a bias.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tgp_multimodal.data.json_files import check_keys, read_object
from tgp_multimodal.models.text_transformer import TextTransformer

_FILE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHAPE = {  # our constructor's argument -> the key of config.json
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "feed_forward": "intermediate_size",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "context": "max_position_embeddings",
}
_FREE = ("context",)  # a run may read shorter or longer rows than the folder was trained on


def shape(folder: Path) -> dict[str, Any]:
    """The arguments of `TextTransformer` that fit a stock folder.

    Raises:
        ValueError: the folder is no Qwen3 model, or one with parts that ours has not.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ValueError(f"init_from must be a folder with a config.json. Got {folder} instead.")
    config = read_object(path)
    if config.get("model_type") != "qwen3":
        raise ValueError(
            f"init_from must hold a model of type qwen3. Got {config.get('model_type')!r} instead."
        )
    check_keys(path, config, [*_SHAPE.values()])
    found = {ours: config[theirs] for ours, theirs in _SHAPE.items()}
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    wanted = {
        "attention_bias": (config.get("attention_bias", False), False),
        "rope_type": (rope.get("rope_type", rope.get("type", "default")), "default"),
        "rms_norm_eps": (config.get("rms_norm_eps", 1e-6), 1e-6),
        "hidden_act": (config.get("hidden_act", "silu"), "silu"),
        "use_sliding_window": (bool(config.get("use_sliding_window")), False),
        "tie_word_embeddings": (config.get("tie_word_embeddings", False), True),
        "head_dim": (config.get("head_dim"), found["width"] // found["heads"]),
    }
    for name, (value, needed) in wanted.items():
        if value != needed:
            raise ValueError(
                f"{name} of the model in init_from must be {needed}. Got {value!r} instead."
            )
    found["rope_theta"] = float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
    return found


@torch.no_grad()
def start_from(text: TextTransformer, folder: Path) -> None:
    """Copies the weights of a stock folder into a text transformer of the same shape.

    Raises:
        ValueError: the shapes differ, or the weights do not fit.
    """
    folder = Path(folder)
    theirs = shape(folder)
    ours = {name: getattr(text, name) for name in theirs}
    wrong = {k: v for k, v in theirs.items() if k not in _FREE and ours[k] != v}
    if wrong:
        listed = ", ".join(f"{k}: {v}" for k, v in wrong.items())
        raise ValueError(
            f"model.network.init_args.text must have the shape of {folder}: {listed}. "
            f"Got {', '.join(f'{k}: {ours[k]}' for k in wrong)} instead."
        )
    weights = {k.removeprefix("model."): v.float() for k, v in _read(folder).items()}
    table = weights.get("embed_tokens.weight")
    head = weights.pop("lm_head.weight", None)
    if head is not None and table is not None and not torch.equal(head, table):
        raise ValueError(f"lm_head in {folder} must be the token table. Got other weights instead.")
    try:
        text.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"weights in {folder} must fit its config.json. Got {error} instead."
        ) from error


def _read(folder: Path) -> dict[str, Tensor]:
    names = [_FILE]
    if not (folder / _FILE).is_file() and (folder / _INDEX).is_file():
        index = read_object(folder / _INDEX, "weight_map")
        names = sorted(set(index["weight_map"].values()))
    found: dict[str, Tensor] = {}
    for name in names:
        try:
            found |= load_file(folder / name)
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"{folder / name} must be a whole safetensors file. Got {error} instead."
            ) from error
    return found
