"""What the adapters of foreign models share: missing libraries, names, digests, fresh weights."""

import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn

from tgp_multimodal import __version__, export

RANDOM = "random"  # in the place of weights: fresh ones, always the same
_SEED = 20_260_101
# One text changes beside another by rounding, up to this share of what tells the two apart.
_ROUNDING, _ROUNDING_HALF = 1e-3, 2e-2
_SHORT, _LONG = "A dog ran.", "They counted the boats, one by one, until the river had frozen over."
# What libraries raise for a model that they cannot open: RuntimeError for weights that do not fit,
# ImportError for quantised ones, SafetensorError and EOFError for a file that was cut off, KeyError
# for one that is something else.
OPENING_ERRORS = (
    OSError, ValueError, KeyError, ImportError, RuntimeError, EOFError, SafetensorError
)  # fmt: skip


def import_library(name: str, package: str) -> ModuleType:
    """Imports an optional library.

    Args:
        name: of the module.
        package: what pip installs.

    Raises:
        ValueError: it is not installed; the sentence says what to install.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(
            f"{package} must be installed for this kind of model: pip install {package}."
            " Got no such library instead."
        ) from None


def split_variant(argument: str, known: Iterable[str] = ()) -> tuple[str, str]:
    """What stands before and behind the last `@`, which says what weights a model has.

    Args:
        argument: `model` or `model@weights`; the name of a folder that exists is taken whole.
        known: what may stand behind; none given: anything.
    """
    name, at, weights = argument.rpartition("@")
    known = tuple(known)
    if not at or Path(argument).exists() or (known and weights not in known):
        return argument, ""
    return name, weights


def display_name(kind: str, argument: str, weights: str = "") -> str:
    """How a model is called in tables: kind, last part of its name or folder, weights."""
    path = Path(argument)
    if path.is_dir():
        path = export.run_folder(path.resolve())
    return "-".join(part for part in (kind, path.name, Path(weights).stem) if part)


def model_digest(network: nn.Module, *settings: object) -> tuple[str, str]:
    """SHA-256 of all that decides the answers, and SHA-256 of the weights alone.

    Args:
        network: its names, types and values count.
        settings: whatever else decides them; our own version always does.
    """
    weights = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        weights.update(f"{name}|{value.dtype}|{tuple(value.shape)}".encode())
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        weights.update(raw.numpy().data)
    found = weights.hexdigest()
    whole = hashlib.sha256(repr((found, settings, __version__)).encode()).hexdigest()
    return whole, found


def parameters(network: nn.Module) -> int:
    """Number of parameters; shared ones count once."""
    return sum(p.numel() for p in network.parameters())


def settings(config: Any) -> dict[str, Any]:
    """What a configuration of transformers or diffusers says, without paths and versions."""
    found = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return {k: found[k] for k in sorted(found) if k[0] != "_" and k != "transformers_version"}


def tokenizer_settings(tokenizer: Any) -> object:
    """All that decides which ids a text gets: words, merges, normaliser, what stands around it.

    Truncation and padding are left out, for each call of a tokenizer sets them anew.

    Args:
        tokenizer: of transformers, or of tokenizers. One that is not in Rust tells its words alone.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        return sorted(tokenizer.get_vocab().items())
    own = Tokenizer.from_str(backend.to_str())
    own.no_truncation()
    own.no_padding()
    return own.to_str()


@contextmanager
def same_randomness() -> Iterator[None]:
    """Fresh weights that are made inside are always the same; randomness outside is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        yield


def minds_padding(vectors: Callable[[list[str]], np.ndarray], dtype: torch.dtype) -> bool:
    """Whether a text has another vector padded beside a longer one than alone.

    FNet mixes padding in, and ConvBERT's convolutions reach into it, whatever the mask says.

    Args:
        vectors: of texts that are read at once, (texts, features).
        dtype: of the model.
    """
    (alone_D,) = vectors([_SHORT])
    short_D, long_D = vectors([_SHORT, _LONG])
    rounding = _ROUNDING if dtype == torch.float32 else _ROUNDING_HALF
    change, apart = np.linalg.norm(short_D - alone_D), np.linalg.norm(short_D - long_D)
    return not change <= rounding * apart  # padding that makes a NaN of it is minded, too


def first_line(error: Exception) -> str:
    """What a library said, as much as fits into a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__
