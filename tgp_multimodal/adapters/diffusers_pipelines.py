"""Text-to-image pipelines of diffusers: pictures drawn by any of them, ours among them."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from tgp_multimodal.adapters import foreign
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.requests import Answer, Draw, Request
from tgp_multimodal.inference.devices import default_device

_BATCH = 8
_TYPES = ("float32", "bfloat16", "float16")


class DiffusersPipeline(Adapter):
    """A pipeline that `DiffusionPipeline.from_pretrained` opens, on the device of `default_device`.

    It draws as it does by default: its own scheduler, steps, guidance and size. Noise is that of
    one generator for each picture, seeded on the CPU, so that a picture is a function of its
    request and the same on every device. Pipelines that cannot draw several prompts together
    (PRXPixelPipeline with guidance, in diffusers 0.42) draw one after another.

    Args:
        model: `FOLDER_OR_NAME`, or `FOLDER_OR_NAME@TYPE` for weights in bfloat16 or float16.
        batch: pictures at once; no answer depends on it beyond rounding.

    Raises:
        ValueError: there is no such pipeline, or it does not draw from a prompt alone; from
            `answer`: it draws NaN, as some decoders do in float16, which would pass for black.
    """

    supports = frozenset({Draw})
    embeds = frozenset[str]()

    def __init__(self, model: str, batch: int = _BATCH) -> None:
        diffusers = foreign.import_library("diffusers", "diffusers")
        name, kind = foreign.split_variant(model, _TYPES)
        self.name, self.batch = foreign.display_name("diffusers", name, kind), batch
        try:
            self.pipeline = diffusers.DiffusionPipeline.from_pretrained(
                name, trust_remote_code=False
            )
        # The library raises the last two for a folder that is no pipeline.
        except (*foreign.OPENING_ERRORS, AttributeError, TypeError) as error:
            raise ValueError(
                "diffusers model must be a text-to-image pipeline: a folder or hub name."
                f" Got {model} instead ({foreign.first_line(error)})."
            ) from None
        takes = inspect.signature(self.pipeline.__call__).parameters
        if "prompt" not in takes or "generator" not in takes or "image" in takes:
            raise ValueError(
                "diffusers model must draw from a prompt alone."
                f" Got {model}, a {type(self.pipeline).__name__}, instead."
            )
        # Resolutions of large pictures, which this setting snaps to, would enlarge small ones.
        self.settings = (
            {"use_resolution_binning": False} if "use_resolution_binning" in takes else {}
        )
        self.pipeline.set_progress_bar_config(disable=True)
        self.pipeline.to(default_device(), getattr(torch, kind or "float32"))
        self.kind, self.version = kind or "float32", diffusers.__version__

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        wanted = [r for r in requests if isinstance(r, Draw)]
        answers: list[Answer] = []
        while len(answers) < len(wanted):
            own = wanted[len(answers) : len(answers) + self.batch]
            try:
                answers += self._draw(own)
            except (RuntimeError, ValueError, TypeError):
                if len(own) == 1:
                    raise
                self.batch = 1  # it cannot draw several together, or memory does not suffice
        return answers

    def facts(self) -> dict[str, Any]:
        parts = self.pipeline.components
        networks = nn.ModuleDict({k: v for k, v in parts.items() if isinstance(v, nn.Module)})
        said = {"": self.pipeline, **parts}
        configs = {k: foreign.settings(v.config) for k, v in said.items() if hasattr(v, "config")}
        words = {
            k: sorted(v.get_vocab().items()) for k, v in parts.items() if hasattr(v, "get_vocab")
        }
        defaults = str(inspect.signature(self.pipeline.__call__))
        digest, weights = foreign.model_digest(
            networks,
            type(self.pipeline).__name__,
            configs,
            words,
            defaults,
            self.kind,
            self.version,
        )
        return {
            "digest": digest,
            "weights": weights,
            "parameters": foreign.parameters(networks),
            "pipeline": type(self.pipeline).__name__,
            "dtype": self.kind,
            "device": str(default_device()),
            "torch": torch.__version__,
            "diffusers": self.version,
        }

    @torch.inference_mode()
    def _draw(self, requests: Sequence[Draw]) -> list[np.ndarray]:
        generators = [torch.Generator().manual_seed(r.seed) for r in requests]
        prompts = [r.prompt for r in requests]
        found = self.pipeline(
            prompt=prompts, generator=generators, output_type="np", **self.settings
        )
        drawn = found.images
        if any(getattr(found, "nsfw_content_detected", None) or ()):
            raise ValueError(
                f"pictures of {self.name} must be its own. Got black ones of its safety checker "
                "instead: save the pipeline without one (safety_checker=None)."
            )
        if not all(np.isfinite(picture).all() for picture in drawn):
            raise ValueError(
                f"pictures of {self.name} must be finite. Got NaN in {self.kind} instead:"
                " another type may be wide enough."
            )
        return [np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8) for picture in drawn]
