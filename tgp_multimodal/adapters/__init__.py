"""Models of any kind behind the one seam `evaluation.adapter.Adapter`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tgp_multimodal.evaluation.adapter import Adapter

ADAPTERS = {
    "native": "tgp_multimodal.adapters.native:Native",
    "random": "tgp_multimodal.adapters.native:RandomTwin",
    "majority": "tgp_multimodal.adapters.baselines:Majority",
    "tfidf": "tgp_multimodal.adapters.baselines:TfIdf",
    "pixels": "tgp_multimodal.adapters.baselines:Pixels",
    "hog": "tgp_multimodal.adapters.hog:Hog",
    "words": "tgp_multimodal.adapters.word_features:WordFeatures",
    "xz": "tgp_multimodal.adapters.compressors:Xz",
    "zstd": "tgp_multimodal.adapters.compressors:Zstd",
}


def make(model: str) -> "Adapter":
    """Opens a model by its specification.

    Args:
        model: `kind` or `kind:argument`, for example `tfidf`, `random:runs/nano/export`; a path
            alone is a folder that `tgp export` wrote: `runs/nano/export` is
            `native:runs/nano/export`.

    Raises:
        ValueError: there is no such kind, or no such folder.
    """
    from importlib import import_module
    from pathlib import Path

    from tgp_multimodal.evaluation.names import unknown

    kind, colon, argument = model.partition(":")
    if kind not in ADAPTERS and Path(model).is_dir():
        kind, colon, argument = "native", ":", model
    if kind not in ADAPTERS:
        if not colon and ("/" in model or Path(model).exists()):
            raise ValueError(
                f"model must be a folder that `tgp export` wrote. Got {model} instead."
            )
        raise ValueError(unknown("model", kind, ADAPTERS))
    module, name = ADAPTERS[kind].split(":")
    adapter: Adapter = getattr(import_module(module), name)(*([argument] if colon else []))
    return adapter
