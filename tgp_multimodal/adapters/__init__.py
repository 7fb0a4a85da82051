"""Models of any kind behind the one seam `evaluation.adapter.Adapter`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tgp_multimodal.evaluation.adapter import Adapter

ADAPTERS = {
    "native": "tgp_multimodal.adapters.native:Native",
    "random": "tgp_multimodal.adapters.native:RandomTwin",
    "hf": "tgp_multimodal.adapters.hf_transformers:HfTransformers",
    "st": "tgp_multimodal.adapters.sentence_encoders:SentenceEncoder",
    "openclip": "tgp_multimodal.adapters.openclip:OpenClip",
    "diffusers": "tgp_multimodal.adapters.diffusers_pipelines:DiffusersPipeline",
    "timm": "tgp_multimodal.adapters.timm_vision:TimmVision",
    "openai": "tgp_multimodal.adapters.openai_api:OpenAiApi",
    "majority": "tgp_multimodal.adapters.baselines:Majority",
    "longest": "tgp_multimodal.adapters.baselines:Longest",
    "tfidf": "tgp_multimodal.adapters.baselines:TfIdf",
    "bm25": "tgp_multimodal.adapters.bm25:Bm25",
    "pixels": "tgp_multimodal.adapters.baselines:Pixels",
    "hog": "tgp_multimodal.adapters.hog:Hog",
    "words": "tgp_multimodal.adapters.word_features:WordFeatures",
    "xz": "tgp_multimodal.adapters.compressors:Xz",
    "zstd": "tgp_multimodal.adapters.compressors:Zstd",
}


def make(model: str) -> "Adapter":
    """Opens a model by its specification.

    Args:
        model: `kind` or `kind:argument`, for example `tfidf`, `random:runs/nano/export`,
            `hf:gpt2`, `openai:http://127.0.0.1:8000/v1#nano`; a path alone is a folder that
            `tgp export` wrote: `runs/nano/export` is `native:runs/nano/export`.

    Raises:
        ValueError: there is no such kind, or no such model, or the kind wants an argument and has
            none, or has one and wants none.
    """
    from importlib import import_module
    from inspect import signature
    from pathlib import Path

    from tgp_multimodal.names import beside, unknown

    kind, colon, argument = model.partition(":")
    if kind not in ADAPTERS and Path(model).is_dir():
        kind, colon, argument = "native", ":", model
    if kind not in ADAPTERS:
        if not colon and ("/" in model or Path(model).exists()):
            raise ValueError(
                "model must be a folder that `tgp export` wrote, or KIND:MODEL, like"
                f" hf:{model}. Got {model} instead.{beside(Path(model))}"
            )
        raise ValueError(unknown("model, which may be a folder,", kind, ADAPTERS))
    module, name = ADAPTERS[kind].split(":")
    opener = getattr(import_module(module), name)
    takes = list(signature(opener).parameters.values())
    if argument and not takes:
        raise ValueError(f"{kind} must stand alone. Got {model} instead.")
    if not argument and takes and takes[0].default is takes[0].empty:
        raise ValueError(f"{kind} must be followed by a model, {kind}:MODEL. Got {model} instead.")
    adapter: Adapter = opener(*([argument] if argument else []))
    adapter.specification = model
    return adapter


class ModelSlot:
    """Holds the model that was opened last, and lets go of it before it opens another.

    Models together may need more memory than there is, where each of them fits.
    """

    def __init__(self) -> None:
        self._held: dict[str, Adapter] = {}

    def open(self, model: str) -> "Adapter":
        """The model of a specification. Who keeps it keeps its memory.

        Raises:
            ValueError: as of `make`.
        """
        import gc

        if model not in self._held:
            self._held.clear()
            gc.collect()  # networks can be parts of cycles
            self._held[model] = make(model)
        return self._held[model]
