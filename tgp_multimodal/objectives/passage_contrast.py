"""Text embeddings, learned contrastively: which two passages are from one document.

A language model's states serve the next token; their mean says little about what a text is about.
This objective trains the same weights to represent it, without labels (Neelakantan et al. 2022,
arXiv:2201.10005). The embedding is what sentence-transformers computes from an export: the mean of
the bidirectional, final-normed states.

Shape letters: B pairs of this process, P of all, L and M lengths in tokens, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tgp_multimodal.data.records import PassageRows
from tgp_multimodal.models.flops import text_flops
from tgp_multimodal.models.layers import token_means
from tgp_multimodal.models.networks import Network
from tgp_multimodal.objectives import ranks
from tgp_multimodal.objectives.base import Loss, Objective
from tgp_multimodal.objectives.equal_rows import equal_rows, whole_ids


class PassageContrast(Objective):
    """InfoNCE in both directions over the pairs of the global batch.

    The loss is van den Oord et al. 2018's (arXiv:1807.03748). Two pairs that have a text in common,
    as captions of different pictures may, are not contrasted with each other.

    Args:
        temperature: the cosines are divided by it.
        is_causal: whether attention is causal. These are the states that the diffusion head reads:
            contrast of captions keeps in them what tells pictures apart, which predicting the next
            token does not require.
    """

    def __init__(self, temperature: float = 0.05, is_causal: bool = False) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0. Got {temperature} instead.")
        self.temperature, self.is_causal = temperature, is_causal

    def loss(self, network: Network, batch: PassageRows, progress: float, seed: int) -> Loss:
        """Mean nats of naming the other passage among all of the batch; see `Objective.loss`."""
        first_PD, second_PD = (
            ranks.whole_batch(F.normalize(mean_states(network, *side, self.is_causal), dim=-1))
            for side in _sides(batch)
        )
        with torch.autocast(first_PD.device.type, enabled=False):  # else near cosines are equal
            score_PP = first_PD @ second_PD.T / self.temperature
        value, found = info_nce(score_PP.masked_fill(_share_a_text(batch), -torch.inf))
        return Loss(value, {"nats": value.detach(), "found": found})

    def flops(self, network: Network, batch: PassageRows) -> int:
        """Without the comparison itself; see `Objective.flops`."""
        return 3 * sum(text_flops(network.text, *ids.shape) for ids, _ in _sides(batch))


def _sides(batch: PassageRows) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Ids and mask of the first passages, and of the second ones."""
    first, second = batch[:2], batch[2:]
    return (first[0], first[1].bool()), (second[0], second[1].bool())


def _share_a_text(batch: PassageRows) -> Tensor:
    """Which two pairs do, (P, P); the diagonal is False."""
    sides = [whole_ids(*side) for side in _sides(batch)]
    width = max(side.shape[1] for side in sides)
    both = torch.cat([F.pad(s, (0, width - s.shape[1]), value=-1.0) for s in sides])
    pairs = len(both) // 2
    return equal_rows(both, both).view(2, pairs, 2, pairs).any(2).any(0).fill_diagonal_(False)


def info_nce(score_PP: Tensor) -> tuple[Tensor, Tensor]:
    """Mean nats of picking the partner (diagonal) in both directions, and the accuracy of rows."""
    partner_P = torch.arange(len(score_PP), device=score_PP.device)
    there = F.cross_entropy(score_PP, partner_P)
    nats = (there + F.cross_entropy(score_PP.T, partner_P)) / 2
    return nats, (score_PP.argmax(dim=1) == partner_P).float().mean()


def mean_states(
    network: Network, token_BL: Tensor, mask_BL: Tensor, is_causal: bool = False
) -> Tensor:
    """Means over the tokens of the final-normed states, (B, D), float32."""
    state_BLD = network.text(token_BL, is_causal=is_causal, mask_BL=mask_BL).float()
    return token_means(state_BLD, mask_BL)
