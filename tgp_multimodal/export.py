"""Network <-> folder. One folder that three stock libraries open with no code of ours.

    config.json generation_config.json model.safetensors tokenizer.*     AutoModelForCausalLM
    model_index.json text_encoder/ tokenizer/ transformer/ scheduler/    DiffusionPipeline
    modules.json encoder/ pooling/                                       SentenceTransformer
    tgp.json README.md                                                   what we read; model card
    tower/                                                               the image tower, if any

The three files of text weights are hard links to one file where the file system allows. The tower's
weights are named as in open_clip's checkpoints. This is the only module that opens checkpoints.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tgp_multimodal import stock_export
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.json_files import read_format
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.models.networks import (
    Multimodal,
    Network,
    describe,
    from_description,
)
from tgp_multimodal.models.weights_file import write_weights
from tgp_multimodal.names import beside

FORMAT = 1
_TEXT = "model.safetensors"
_HEAD = "transformer/diffusion_pytorch_model.safetensors"
_TOWER = "tower/model.safetensors"
# Whatever may lie at the top of an export.
_NAMES = (
    *("config.json", "generation_config.json", "model.safetensors", "model_index.json"),
    *("modules.json", "tokenizer.json", "tokenizer_config.json", "tgp.json", "README.md"),
    *("encoder", "pooling", "scheduler", "text_encoder", "tokenizer", "tower", "transformer"),
    "chat_template.jinja",
)
# Qwen3ForCausalLM keeps its Qwen3Model under this name; Qwen3Model strips it when it loads.
_STOCK_PREFIX = "model."


class Loaded(NamedTuple):
    """What an export holds.

    Attributes:
        network: in evaluation mode, float32, on the CPU.
        tokenizer: the one it was trained with.
        facts: free plain data about its training.
        digest: SHA-256 of the weights.
    """

    network: Network
    tokenizer: Tokenizer
    facts: dict[str, Any]
    digest: str


def save(
    folder: Path, network: Network, tokenizer: Tokenizer, facts: dict[str, Any], card: str
) -> None:
    """Writes the export; an older export at that place is replaced as a whole, at the end.

    What an older export has of others, such as `.git`, stays.

    Args:
        folder: where to; new, empty, or an export.
        network: what to write; weights are stored in float32.
        tokenizer: the one it was trained with.
        facts: plain data about the training, kept in `tgp.json`.
        card: the text of README.md.

    Raises:
        ValueError: `folder` holds something else, or the tokenizer has ids that the network
            has not.
    """
    folder = Path(folder).resolve()
    if tokenizer.vocabulary > network.text.vocabulary:
        raise ValueError(
            f"vocabulary of the network must be at least the tokenizer's {tokenizer.vocabulary}. "
            f"Got {network.text.vocabulary} instead."
        )
    if folder.exists() and not (folder / "tgp.json").is_file() and any(folder.iterdir()):
        raise ValueError(f"output folder must be new, empty, or an export. Got {folder} instead.")
    before = folder.with_name(f".{folder.name}.tgp-before")
    _end_replacing(before, folder)  # where that was killed
    partial = folder.with_name(f".{folder.name}.tgp-partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write_text(partial, network, tokenizer)
    if isinstance(network, Multimodal):
        _write_pipeline(partial, network, tokenizer)
    if network.tower is not None:
        tower = {k: _plain(v) for k, v in network.tower.state_dict().items()}
        write_weights(tower, partial / _TOWER)
    (partial / "README.md").write_text(card, encoding="utf-8")
    _write_json(
        partial / "tgp.json",
        {
            "format": FORMAT,
            "network": describe(network),
            "tokenizer": tokenizer.digest,
            "weights": weights_digest(network),
            "training": facts,
        },
    )
    if folder.exists():
        folder.replace(before)  # whole until the new one stands in its place
    partial.replace(folder)
    _end_replacing(before, folder)


def _end_replacing(before: Path, folder: Path) -> None:
    """Moves what no export writes into the new one, and deletes the rest of the older."""
    if not before.exists():
        return
    if not folder.exists():
        before.replace(folder)
        return
    for path in before.iterdir():
        if path.name not in _NAMES and not (folder / path.name).exists():
            path.rename(folder / path.name)
    shutil.rmtree(before, ignore_errors=True)


def without_home(found: Any) -> Any:
    """Plain data that will be published, without the name of who ran it in their paths."""
    if isinstance(found, dict):
        return {without_home(key): without_home(value) for key, value in found.items()}
    if isinstance(found, list):
        return [without_home(value) for value in found]
    home = str(Path.home())
    if not isinstance(found, str) or home == "/":
        return found
    return re.sub(rf"((?<=://)|(?<![\w./-])){re.escape(home)}(?![\w.-])", "~", found)


def load(folder: Path) -> Loaded:
    """Opens an export.

    Raises:
        ValueError: the folder is not an export or is of another format, or its weights or tokenizer
            are damaged.
    """
    folder = Path(folder)
    path = folder / "tgp.json"
    if not path.is_file():
        raise ValueError(
            f"model folder must be an export (with a tgp.json). "
            f"Got {folder} instead.{_hint(folder)}"
        )
    keys = ("network", "weights", "tokenizer", "training")
    found = read_format(path, "export", FORMAT, *keys)
    network = _empty(found["network"])
    tokenizer = tokenizers.load(folder)
    weights = {
        f"text.{k.removeprefix(_STOCK_PREFIX)}": v for k, v in _read_weights(folder / _TEXT).items()
    }
    if isinstance(network, Multimodal):
        weights |= {f"head.{k}": v for k, v in _read_weights(folder / _HEAD).items()}
    if network.tower is not None:
        weights |= {f"tower.{k}": v for k, v in _read_weights(folder / _TOWER).items()}
    _load_state(network, weights, folder)
    digest = weights_digest(network)
    for name, now, then in (
        ("weights", digest, found["weights"]),
        ("tokenizer", tokenizer.digest, found["tokenizer"]),
    ):
        if now != then:
            raise ValueError(f"digest of the {name} in {folder} must be {then}. Got {now} instead.")
    return Loaded(network.eval().requires_grad_(False), tokenizer, found["training"], digest)


def run_folder(folder: Path) -> Path:
    """The folder that a model is called by: of its run, or of what was adapted.

    The model itself lies in `export/` or `model/` there.
    """
    return folder.parent if folder.name in ("export", "model") else folder


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A training checkpoint as plain data and tensors; code in it is refused.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, or holds more than plain data and tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"checkpoint must be a file or a run's folder. Got {path} instead.{beside(path)}"
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from KeyError to UnpicklingError here
        raise ValueError(
            "checkpoint must hold tensors and plain data. "
            f"Got {path} instead ({type(error).__name__})."
        ) from error
    if not isinstance(found, dict):
        raise ValueError(
            f"checkpoint must hold a dictionary. Got {type(found).__name__} in {path} instead."
        )
    return found


def network_from_checkpoint(checkpoint: Mapping[str, Any]) -> Network:
    """The network of a training checkpoint; its averaged weights (`ema`) where it has some.

    Raises:
        ValueError: the checkpoint is none of ours.
    """
    missing = {"state_dict", "network_description"} - checkpoint.keys()
    if missing:
        raise ValueError(
            "checkpoint must be one that `tgp fit` wrote. "
            f"Got one without {', '.join(sorted(missing))} instead."
        )
    network = _empty(checkpoint["network_description"])
    prefix = "network."
    weights = {
        k.removeprefix(prefix): v
        for k, v in checkpoint["state_dict"].items()
        if k.startswith(prefix)
    }
    weights |= {k.removeprefix(prefix): v for k, v in (checkpoint.get("ema") or {}).items()}
    _load_state(network, weights, Path("checkpoint"))
    return network.eval().requires_grad_(False)


def weights_digest(network: Network) -> str:
    """SHA-256 over the names and float32 values of all weights, whatever file holds them."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(_plain(value).numpy().data)
    return digest.hexdigest()


def _write_text(folder: Path, network: Network, tokenizer: Tokenizer) -> None:
    text = network.text
    weights = {_STOCK_PREFIX + k: _plain(v) for k, v in text.state_dict().items()}
    write_weights(weights, folder / _TEXT)
    _write_json(
        folder / "config.json", stock_export.qwen3(text, tokenizer, "Qwen3ForCausalLM", True)
    )
    _write_json(folder / "generation_config.json", stock_export.generation(text, tokenizer))
    tokenizer.save(folder, text.context)
    encoder = folder / "encoder"
    tokenizer.save(encoder, text.context)
    _link(folder / _TEXT, encoder / _TEXT)
    _write_json(encoder / "config.json", stock_export.qwen3(text, tokenizer, "Qwen3Model", False))
    _write_json(encoder / "sentence_bert_config.json", stock_export.sentence_encoder(text))
    _write_json(folder / "pooling" / "config.json", stock_export.sentence_pooling(text))
    _write_json(folder / "modules.json", stock_export.sentence_modules())


def _write_pipeline(folder: Path, network: Multimodal, tokenizer: Tokenizer) -> None:
    tokenizer.save(folder / "tokenizer", network.text.context)
    encoder = folder / "text_encoder"
    _write_json(
        encoder / "config.json", stock_export.qwen3(network.text, tokenizer, "Qwen3Model", True)
    )
    _link(folder / _TEXT, encoder / _TEXT)
    _write_json(folder / "transformer" / "config.json", stock_export.prx(network.head))
    head = {k: _plain(v) for k, v in network.head.state_dict().items()}
    write_weights(head, folder / _HEAD)
    _write_json(folder / "scheduler" / "scheduler_config.json", stock_export.scheduler())
    _write_json(folder / "model_index.json", stock_export.pipeline(network.head))


def _plain(value: Tensor) -> Tensor:
    return value.detach().to("cpu", torch.float32).contiguous()


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path} must be a whole safetensors file. Got {error} instead."
        ) from error


def _empty(description: dict[str, Any]) -> Network:
    """A network without weights: nothing is drawn, so no random generator moves."""
    with torch.device("meta"):
        network = from_description(description)
    assert isinstance(network, Network)
    return network


def _load_state(network: Network, weights: dict[str, Tensor], source: Path) -> None:
    try:
        network.load_state_dict({k: v.float() for k, v in weights.items()}, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"weights in {source} must fit the network described there. Got {error} instead."
        ) from error


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _hint(folder: Path) -> str:
    inside = folder / "export"
    if (inside / "tgp.json").is_file():
        return f" Did you mean {inside}?"
    return "" if folder.exists() else beside(folder)
