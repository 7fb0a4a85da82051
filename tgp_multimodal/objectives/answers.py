"""Next-token prediction on answers alone: the tokens that a chat model has to write.

Shape letters: B batch, L length in tokens, N answer positions, V vocabulary.
"""

import math
from typing import NamedTuple

from torch import Tensor

from tgp_multimodal.data.records import ChatRows
from tgp_multimodal.models.flops import text_flops
from tgp_multimodal.models.networks import Network
from tgp_multimodal.objectives import ranks
from tgp_multimodal.objectives.base import Loss, Objective
from tgp_multimodal.objectives.cross_entropy import weighted_nats


class AnswerBatch(NamedTuple):
    """A batch of conversations, prepared so that the loss never waits for the device.

    Attributes:
        token_BL: as in `ChatRows`.
        position_BL: as in `ChatRows`.
        scored_N: indices of the answer positions in the flattened rows.
        weight_N: weight of each in their mean over all processes.
        bytes: this process's part of the mean bytes per answer token; a scalar.
    """

    token_BL: Tensor
    position_BL: Tensor
    scored_N: Tensor
    weight_N: Tensor
    bytes: Tensor


class AnswerLanguage(Objective):
    """Learns from the assistant's messages, their ends included; the rest is read, not learned.

    Every answer token counts the same, so a long answer counts more than a short one.

    Args:
        z_loss: as of `HybridLanguage`.
    """

    def __init__(self, z_loss: float = 1e-4) -> None:
        self.z_loss = z_loss

    def loss(
        self, network: Network, batch: ChatRows | AnswerBatch, progress: float, seed: int
    ) -> Loss:
        """Mean nats per answer token, and bits per byte of answers; see `Objective.loss`.

        Several processes log the mean of their own bits per byte.
        """
        rows = batch
        if not isinstance(rows, AnswerBatch):
            rows = self.prepare_batch(rows, progress, seed)
        state_BLD = network.text(rows.token_BL[:, :-1], rows.position_BL[:, :-1])
        value, nats_N = weighted_nats(
            state_BLD.flatten(0, 1).index_select(0, rows.scored_N),
            network.text.embed_tokens.weight,
            rows.token_BL[:, 1:].flatten().index_select(0, rows.scored_N),
            rows.weight_N,
            self.z_loss * rows.weight_N,
            is_compiled=network.text.is_compiled,
        )
        nats = (nats_N * rows.weight_N).sum()
        parts = {
            "value": value,
            "answer_nats_per_token": nats,
            "answer_bits_per_byte": nats / rows.bytes / math.log(2),
        }
        return Loss(value, {k: v.detach() for k, v in parts.items()})

    def prepare_batch(self, batch: ChatRows, progress: float, seed: int) -> AnswerBatch:
        """Finds the answers; nothing is random. See `Objective.prepare_batch`."""
        is_scored = batch.is_answer_BL[:, 1:].flatten()
        scored_N = is_scored.nonzero()[:, 0]
        count = ranks.average(is_scored.sum().float()).clamp_min(1 / ranks.world())
        weight_N = is_scored[scored_N].float() / count
        mean_bytes = (batch.bytes_BL[:, 1:].flatten()[scored_N] * weight_N).sum()
        return AnswerBatch(
            batch.token_BL, batch.position_BL, scored_N, weight_N, mean_bytes.clamp_min(1e-9)
        )

    def flops(self, network: Network, batch: ChatRows | AnswerBatch) -> int:
        """As if every position were scored; see `Objective.flops`."""
        rows, length = batch.token_BL[:, 1:].shape
        return 3 * text_flops(network.text, rows, length, rows * length)
