"""Picture encoders of timm, which has to be installed for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from tgp_multimodal.adapters import foreign
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.requests import Answer, Embed, Request
from tgp_multimodal.inference.devices import default_device
from tgp_multimodal.names import unknown

_BATCH = 32
# The library drops a classifier that has not as many classes as the network, which has none, if its
# table names that many; other than 0, then, also for weights that it has without a classifier.
_ANY_CLASSES = {"num_classes": 1}


class TimmVision(Adapter):
    """A model of timm without its classifier: the pooled features in front of it.

    Pictures go through the transform for evaluation that belongs to the weights.

    Args:
        model: an architecture with timm's own weights (`vit_small_patch16_224.augreg_in21k`);
            behind it `@FILE` for those of a file, or `@random` for fresh ones, always the same.
        batch: pictures at once; no answer depends on it beyond rounding.

    Raises:
        ValueError: the library is not installed, or there is no such model, or no weights for it,
            or a file has not all of them.
    """

    supports = frozenset({Embed})
    embeds = frozenset({"image"})

    def __init__(self, model: str, batch: int = _BATCH) -> None:
        timm = foreign.import_library("timm", "timm")
        name, weights = foreign.split_variant(model)
        self.name, self.batch = foreign.display_name("timm", name, weights), batch
        self.version, self.device = timm.__version__, default_device()
        if not timm.is_model(name):
            raise ValueError(unknown("timm model", name, timm.list_models()))
        is_random = weights == foreign.RANDOM
        if weights and not is_random and not Path(weights).is_file():
            raise ValueError(f"weights must be a file or random. Got {weights} instead.")
        overlay = {"file": weights, **_ANY_CLASSES} if weights and not is_random else None
        lacking: list[str] = []
        try:
            with foreign.same_randomness():
                network = timm.create_model(
                    name, pretrained=not is_random, pretrained_cfg_overlay=overlay, num_classes=0
                )
                if overlay:
                    lacking = _lacking(timm, name, weights)
        except foreign.OPENING_ERRORS as error:
            raise ValueError(
                f"timm model must have weights. Got {model} instead ({foreign.first_line(error)})."
            ) from error
        if lacking:
            count = sum(map(_is_floating, network.state_dict().values()))
            raise ValueError(
                f"weights of {name} must be whole. Got {weights} without {len(lacking)} of {count}"
                f" ({lacking[0]} is one) instead."
            )
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        items = [np.asarray(r.item) for r in requests if isinstance(r, Embed)]
        answers: list[Answer] = []
        for start in range(0, len(items), self.batch):
            own = items[start : start + self.batch]
            pixels = torch.stack([self.transform(Image.fromarray(item)) for item in own])
            answers += list(self.network(pixels.to(self.device)).float().cpu().numpy())
        return answers

    def facts(self) -> dict[str, Any]:
        digest, weights = foreign.model_digest(
            self.network, repr(self.network), repr(self.transform), self.version
        )
        return {
            "digest": digest,
            "weights": weights,
            "parameters": foreign.parameters(self.network),
            "device": str(self.device),
            "torch": torch.__version__,
            "timm": self.version,
        }


def _lacking(timm: Any, name: str, file: str) -> list[str]:
    """Names of the weights that a file has no values for.

    The library passes over these in silence where the classifier is left out. What it makes of the
    names in a file is up to each architecture; so it loads the file once more with NaN in the place
    of every value, and what has no NaN then got nothing from there.
    """
    weights = timm.models.load_state_dict(file)
    marked = {
        key: torch.full_like(value, torch.nan) if _is_floating(value) else value
        for key, value in weights.items()
    }
    network: nn.Module = timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay={"file": file, "state_dict": marked, **_ANY_CLASSES},
        num_classes=0,
    )
    return [
        key
        for key, value in network.state_dict().items()
        if _is_floating(value) and not value.isnan().any()
    ]


def _is_floating(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
