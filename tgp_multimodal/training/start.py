"""Where a run's weights come from, if they are not fresh: an export of ours, or a stock folder."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from tgp_multimodal import export
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.json_files import read_object
from tgp_multimodal.models.networks import Network, describe
from tgp_multimodal.stock_weights import shape, start_from

# Arguments that may differ from those of the initial weights, which do not depend on them. A tower
# learns its position embeddings, so its size is none of these.
_FREE = {"text": ("context",), "head": ("size",)}


@torch.no_grad()
def start(network: Network, folder: Path) -> list[str]:
    """Copies weights into a network.

    From an export, every part that the network has too, so that a run can continue at another
    resolution or with new parts; from a stock Qwen3 folder, the text transformer.

    Returns:
        Names of the parts that got weights.

    Raises:
        ValueError: a part has another shape than in the folder, or the folder is none.
    """
    if not (folder / "tgp.json").is_file():
        start_from(network.text, folder)
        return ["text"]
    given = dict(export.load(folder).network.named_children())
    parts = [name for name, _ in network.named_children() if name in given]
    for name in parts:
        mine, theirs = network.get_submodule(name), given[name]
        ours, wanted = describe(mine), describe(theirs)
        wrong = [k for k in wanted if ours[k] != wanted[k] and k not in _FREE.get(name, ())]
        if wrong:
            raise ValueError(
                f"model.network.init_args.{name} must have the shape of {folder}: "
                f"{', '.join(f'{k}: {wanted[k]}' for k in wrong)}. "
                f"Got {', '.join(f'{k}: {ours[k]}' for k in wrong)} instead."
            )
        mine.load_state_dict(theirs.state_dict())
    return parts


def network_settings(folder: Path) -> dict[str, Any]:
    """The network of a folder as section `model.network` of a config has it.

    Raises:
        ValueError: the folder is neither an export of ours nor a stock Qwen3 model.
    """
    path = folder / "tgp.json"
    if path.is_file():
        return _section(read_object(path, "network")["network"])
    text = {"class": "TextTransformer", **shape(folder)}
    return _section({"class": "LanguageModel", "text": text})


def _section(description: dict[str, Any]) -> dict[str, Any]:
    arguments = {k: v for k, v in description.items() if k != "class"}
    inner = {k: _section(v) if isinstance(v, dict) else v for k, v in arguments.items()}
    return {"class_path": description["class"], "init_args": inner}


def tokenizer_digest(folder: Path) -> str | None:
    """Digest of the tokenizer whose ids a folder's weights know; None if there is no tokenizer.

    That of a tokenizer without our special tokens equals none of ours.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        return tokenizers.load(folder).digest
    except ValueError:
        return hashlib.sha256(path.read_bytes()).hexdigest()
