"""Histograms of oriented gradients: what pictures' shapes give without any learning."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.picture_spaces import histograms
from tgp_multimodal.evaluation.requests import Answer, Embed, Request


class Hog(Adapter):
    """Histograms of oriented gradients on a grid of 8 x 8 cells, 1,764 numbers a picture."""

    name = "hog"
    has_read = False
    supports = frozenset({Embed})
    embeds = frozenset({"image"})

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        return [histograms(np.asarray(r.item)) for r in requests if isinstance(r, Embed)]

    def facts(self) -> dict[str, Any]:
        return {"digest": "hog/1", "parameters": 0}
