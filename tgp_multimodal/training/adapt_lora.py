"""LoRA on our modules through `peft` (Hu et al. 2021, arXiv:2106.09685), and the way back.

Our parts have the names of Qwen3's, so an adapter that was trained here is one for the exported
model: `peft.PeftModel.from_pretrained(AutoModel.from_pretrained(export), adapter)`.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.models.weights_file import write_weights

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_PREFIX = "base_model.model."  # how peft calls the model that it wraps


def add(text: TextTransformer, rank: int, seed: int) -> None:
    """Adds low-rank matrices beside every projection, and freezes the rest of the transformer.

    Their product starts at zero, so no output changes; it is scaled by 2 (alpha / rank).

    Args:
        text: the transformer; its projections are replaced in place.
        rank: of the products, at least 1.
        seed: of the first matrix of each pair; the second is zero.

    Raises:
        ValueError: the rank is below 1.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1. Got {rank} instead.")
    peft = _peft()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(_settings(peft, rank), text)


def _settings(peft: Any, rank: int) -> Any:
    return peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=list(TARGETS),
        task_type="FEATURE_EXTRACTION",
    )


def save(text: TextTransformer, rank: int, base: str, folder: Path) -> None:
    """Writes the adapter as `peft` does.

    Args:
        text: the transformer with its adapters.
        rank: as for `add`.
        base: folder of the model that it belongs to.
        folder: where to.
    """
    peft = _peft()
    weights = peft.get_peft_model_state_dict(text)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "adapter_model.safetensors"
    named = {_PREFIX + name: w.detach().cpu().contiguous() for name, w in weights.items()}
    write_weights(named, path)
    settings = _settings(peft, rank).to_dict()
    settings |= {
        "base_model_name_or_path": base,
        "inference_mode": True,
        "target_modules": sorted(TARGETS),
    }
    content = json.dumps(settings, indent=2, sort_keys=True, default=str)
    (folder / "adapter_config.json").write_text(content + "\n", encoding="utf-8")


@torch.no_grad()
def merge(text: TextTransformer) -> None:
    """Merges the products into the projections, which become plain linear layers again."""
    for name, module in list(text.named_modules()):
        if hasattr(module, "lora_A"):
            module.merge()
            parent, _, own = name.rpartition(".")
            base = module.get_base_layer()
            assert isinstance(base, nn.Linear)
            setattr(text.get_submodule(parent), own, base)


def _peft() -> Any:
    # By name: it takes seconds to import, and only this way of adapting needs it.
    return importlib.import_module("peft")
