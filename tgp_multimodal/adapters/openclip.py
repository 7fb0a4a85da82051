"""Dual encoders of open_clip: a tower for texts, one for pictures, and the space they share.

Shape letters: B items of a batch, D width of the space.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tgp_multimodal.adapters import foreign
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.requests import Answer, Embed, JointEmbed, Request
from tgp_multimodal.inference.devices import default_device
from tgp_multimodal.names import unknown

_BATCH = 32


class OpenClip(Adapter):
    """A model of open_clip, on the device of `default_device`.

    Vectors are those behind the projection: as they are for `Embed`, of unit length for
    `JointEmbed`. Pictures go through the model's own transform for evaluation.

    Args:
        model: `ARCHITECTURE@WEIGHTS`, where the weights are a tag of open_clip
            (`ViT-B-32@laion2b_s34b_b79k`), a file, or `random` for fresh ones, always the same; or
            a folder with `open_clip_config.json` and weights.
        batch: items at once; no answer depends on it beyond rounding.

    Raises:
        ValueError: there is no such architecture, or it has no such weights.
    """

    supports = frozenset({Embed, JointEmbed})

    def __init__(self, model: str, batch: int = _BATCH) -> None:
        open_clip = foreign.import_library("open_clip", "open-clip-torch")
        name, weights = foreign.split_variant(model)
        self.name, self.batch = foreign.display_name("openclip", name, weights), batch
        is_folder = Path(name).is_dir()
        if not is_folder:
            _check(open_clip, name, weights)
        elif weights not in ("", foreign.RANDOM):
            raise ValueError(
                f"weights of a folder must be its own, or random. Got {weights} instead."
            )
        source = f"local-dir:{name}" if is_folder else name
        is_random = weights == foreign.RANDOM
        # Some tags of weights were trained with QuickGELU under an architecture that has GELU; the
        # library warns of it and computes with GELU.
        tag = {} if is_folder else open_clip.get_pretrained_cfg(name, weights) or {}
        try:
            with foreign.same_randomness():
                network, _, self.transform = open_clip.create_model_and_transforms(
                    source,
                    pretrained=None if is_random or is_folder else weights,
                    load_weights=not is_random,
                    require_pretrained=not is_random,
                    force_quick_gelu=bool(tag.get("quick_gelu")),
                )
        # The library raises AssertionError for some weights that do not fit.
        except (*foreign.OPENING_ERRORS, AssertionError) as error:
            raise ValueError(
                "openclip model must be an architecture with weights of its own."
                f" Got {model} instead ({foreign.first_line(error)})."
            ) from error
        self.network = network.eval().requires_grad_(False).to(default_device())
        self.tokenizer = open_clip.get_tokenizer(source)
        self.config = open_clip.get_model_config(source)
        self.device, self.version = default_device(), open_clip.__version__

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        answers: list[Answer] = [None] * len(requests)
        items = [r.item for r in requests if isinstance(r, Embed | JointEmbed)]
        towers: dict[bool, Callable[[list[Any]], Tensor]] = {
            True: self._texts,
            False: self._picture_vectors,
        }
        for is_text, tower in towers.items():
            chosen = [i for i, item in enumerate(items) if isinstance(item, str) == is_text]
            for start in range(0, len(chosen), self.batch):
                own = chosen[start : start + self.batch]
                vector_BD = tower([items[i] for i in own]).float()
                if isinstance(requests[0], JointEmbed):
                    vector_BD = functional.normalize(vector_BD, dim=1)
                for index, vector in zip(own, vector_BD.cpu().numpy(), strict=True):
                    answers[index] = vector
        return answers

    def facts(self) -> dict[str, Any]:
        settings = (
            self.config,
            repr(self.network),  # with the activation, which the tag decides
            repr(self.transform),
            repr(self.tokenizer.context_length),
            type(self.tokenizer).__name__,
            self._vocabulary(),
            self.version,
        )
        digest, weights = foreign.model_digest(self.network, *settings)
        return {
            "digest": digest,
            "weights": weights,
            "parameters": foreign.parameters(self.network),
            "device": str(self.device),
            "torch": torch.__version__,
            "open_clip": self.version,
        }

    def _vocabulary(self) -> object:
        stock = getattr(self.tokenizer, "tokenizer", None)  # of transformers
        if stock is not None:
            return foreign.tokenizer_settings(stock)
        return sorted(self.tokenizer.encoder.items()), sorted(self.tokenizer.bpe_ranks.items())

    @torch.inference_mode()
    def _texts(self, items: list[str]) -> Tensor:
        return self.network.encode_text(self.tokenizer(items).to(self.device))

    @torch.inference_mode()
    def _picture_vectors(self, items: list[np.ndarray]) -> Tensor:
        pixels = [self.transform(Image.fromarray(np.asarray(item))) for item in items]
        return self.network.encode_image(torch.stack(pixels).to(self.device))


def _check(open_clip: Any, name: str, weights: str) -> None:
    if name not in open_clip.list_models():
        raise ValueError(unknown("openclip architecture", name, open_clip.list_models()))
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not weights:
        raise ValueError(
            f"openclip model must say its weights: {name}@WEIGHTS, a file, random, or one of"
            f" {', '.join(tags) or 'no tag'}. Got none instead."
        )
    if weights != foreign.RANDOM and not Path(weights).is_file() and weights not in tags:
        raise ValueError(unknown(f"weights of {name}", weights, [*tags, foreign.RANDOM]))
