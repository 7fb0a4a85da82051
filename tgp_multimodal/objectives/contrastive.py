"""Contrastive learning of pictures and captions in one embedding space.

The text's embedding is the mean of the bidirectional, final-normed states, without a projection:
what sentence-transformers computes from an export is already in the joint space.

Shape letters: B rows of this process, P pairs of all processes, L length in tokens, C channels,
Y rows, X columns, D width.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tgp_multimodal.data.records import CaptionedImages
from tgp_multimodal.models.flops import text_flops, tower_flops
from tgp_multimodal.models.networks import Network
from tgp_multimodal.objectives import ranks
from tgp_multimodal.objectives.base import Loss, Objective, unit_pixels
from tgp_multimodal.objectives.equal_rows import equal_rows, whole_ids
from tgp_multimodal.objectives.passage_contrast import info_nce, mean_states


class ImageTextContrast(Objective):
    """Contrastive loss over the pairs of the global batch; the network must have a tower.

    Pairs with equal captions are not negatives of each other: their off-diagonal logits are masked,
    in both directions. Only tokens are compared, so captions that say the same in other words stay
    negatives.

    Args:
        form: "sigmoid" classifies each picture-caption pair by itself (Zhai et al. 2023,
            arXiv:2303.15343, section 3.2), which suits small batches; "softmax" picks the match
            among all, in both directions (Radford et al. 2021, arXiv:2103.00020, section 2.3).
        train_text: whether the gradient reaches the text transformer.

    Raises:
        ValueError: the form is neither.
    """

    needs = "tower"

    def __init__(
        self, form: Literal["sigmoid", "softmax"] = "sigmoid", train_text: bool = True
    ) -> None:
        if form not in _FORMS:
            raise ValueError(f"form must be one of {', '.join(_FORMS)}. Got {form} instead.")
        self.form, self.train_text = form, train_text

    def loss(self, network: Network, batch: CaptionedImages, progress: float, seed: int) -> Loss:
        """Nats for each pair; see `Objective.loss`.

        `found` is the share of pictures whose own caption is the best of the batch.

        Raises:
            ValueError: the network has no tower, or one for pictures of another size.
        """
        self.check(network)
        assert network.tower is not None
        with torch.set_grad_enabled(self.train_text and torch.is_grad_enabled()):
            text_BD = mean_states(network, batch.token_BL, batch.mask_BL.bool())
        picture_BD = network.tower(unit_pixels(batch.pixels_BCYX))
        text_PD, picture_PD = (
            ranks.whole_batch(F.normalize(vector_BD.float(), dim=-1))
            for vector_BD in (text_BD, picture_BD)
        )
        logit_PP = network.tower.logits(picture_PD, text_PD)
        ids_PL = whole_ids(batch.token_BL, batch.mask_BL)
        ignored_PP = equal_rows(ids_PL, ids_PL).fill_diagonal_(False)
        value = _FORMS[self.form](logit_PP, ignored_PP)
        scale = network.tower.scale()
        parts = {"nats": value, "found": _found_share(logit_PP, ignored_PP), "scale": scale}
        return Loss(value, {name: part.detach() for name, part in parts.items()})

    def flops(self, network: Network, batch: CaptionedImages) -> int:
        """Without the comparison itself; see `Objective.flops`."""
        assert network.tower is not None
        text = (3 if self.train_text else 1) * text_flops(network.text, *batch.token_BL.shape)
        return text + 3 * tower_flops(network.tower, len(batch.pixels_BCYX))


def sigmoid_nats(logit_PP: Tensor, ignored_PP: Tensor) -> Tensor:
    """Summed over the captions of a picture, averaged over pictures; pairs are on the diagonal."""
    sign_PP = 2 * torch.eye(len(logit_PP), device=logit_PP.device) - 1
    nats_PP = -F.logsigmoid(sign_PP * logit_PP)
    return nats_PP.masked_fill(ignored_PP, 0.0).sum() / len(logit_PP)


def softmax_nats(logit_PP: Tensor, ignored_PP: Tensor) -> Tensor:
    """Mean nats of picking the caption of a picture and the picture of a caption."""
    return info_nce(logit_PP.masked_fill(ignored_PP, -torch.inf))[0]


_FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sigmoid": sigmoid_nats,
    "softmax": softmax_nats,
}


def _found_share(logit_PP: Tensor, ignored_PP: Tensor) -> Tensor:
    best_P = logit_PP.masked_fill(ignored_PP, -torch.inf).argmax(dim=1)
    return (best_P == torch.arange(len(best_P), device=best_P.device)).float().mean()
