"""Causal, masked-next-token and infilling rows in one batch, on one set of weights.

The recipe is GPT-BERT's (Charpentier & Samuel 2024, arXiv:2410.24159).

In a masked row the token at position k + 1 is hidden and predicted at position k, so both kinds of
rows share one shifted target and one output layer. The kind of a row is a hash of its number and
the seed of the step: resumable, independent of the number of processes, and its shares hold on
average.

Shape letters: B batch, L length in tokens, N scored positions, V vocabulary.
"""

from bisect import bisect_left
from copy import copy
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tgp_multimodal.data.packing import hash_unit
from tgp_multimodal.data.records import TextRows
from tgp_multimodal.data.tokenizer import BOS, EOS, MASK, PREFIX, SPECIALS
from tgp_multimodal.models.flops import text_flops
from tgp_multimodal.models.networks import Network
from tgp_multimodal.objectives import ranks
from tgp_multimodal.objectives.base import Loss, Objective
from tgp_multimodal.objectives.cross_entropy import weighted_nats

# Every tokenizer of ours puts the specials first.
_BOS, _EOS, _MASK, _PREFIX = map(SPECIALS.index, (BOS, EOS, MASK, PREFIX))
_FIRST_PLAIN = len(SPECIALS)
_FINE = 2**20  # points of the grid on which the share of span starts is found


class Rows(NamedTuple):
    """Rows as the network sees them: inputs, the kind of each, and which positions are scored."""

    input_BL: Tensor
    is_causal_B: Tensor
    scored_BL: Tensor


class HybridBatch(NamedTuple):
    """A batch with the kinds of its rows drawn, so that the loss never waits for the device.

    Attributes:
        token_BL: rows of `TextRows`, causal ones first.
        position_BL: as in `TextRows`, in the order of these rows, as is all that follows.
        input_BL: what the network reads, one position shorter.
        is_causal_B: True for causal rows, False for masked ones.
        scored_N: indices of the scored positions in the flattened rows.
        causal_weight_N: weight of each scored position in the mean over causal ones.
        masked_weight_N: its weight in the mean over masked ones.
        all_weight_N: its weight in the mean over all.
        causal_share: share of causal rows over all processes.
    """

    token_BL: Tensor
    position_BL: Tensor
    input_BL: Tensor
    is_causal_B: Tensor
    scored_N: Tensor
    causal_weight_N: Tensor
    masked_weight_N: Tensor
    all_weight_N: Tensor
    causal_share: float


class HybridLanguage(Objective):
    """Next-token prediction over causal and masked rows.

    Args:
        masked_rows: share of masked rows among those that are not infilled, at the start and at the
            end of the run, linear between. They are taken from causal ones, so they cost causal
            nats: in runs of 2M tokens 0.8 % at a share of 0.03, 1.2 % at 0.06.
        mask_rate: share of tokens hidden in a masked row at the start and at the end.
        longest_span: hidden tokens come in spans of 1 to this many.
        z_loss: weight of the squared log-partition, which keeps logits small (Chowdhery et al.
            2022, arXiv:2204.02311, section 5).
    """

    def __init__(
        self,
        masked_rows: tuple[float, float] = (0.03, 0.03),
        mask_rate: tuple[float, float] = (0.30, 0.15),
        longest_span: int = 3,
        z_loss: float = 1e-4,
    ) -> None:
        for name, pair in (("masked_rows", masked_rows), ("mask_rate", mask_rate)):
            if not all(0 <= share <= 1 for share in pair):
                raise ValueError(f"{name} must be two shares between 0 and 1. Got {pair} instead.")
        if longest_span < 1:
            raise ValueError(f"longest_span must be at least 1. Got {longest_span} instead.")
        self.masked_rows, self.mask_rate = masked_rows, mask_rate
        self.longest_span, self.z_loss = longest_span, z_loss

    def loss(
        self, network: Network, batch: TextRows | HybridBatch, progress: float, seed: int
    ) -> Loss:
        """Mean nats per scored token of causal and masked rows, weighted by their shares of rows.

        See `Objective.loss`.
        """
        if not isinstance(batch, HybridBatch):
            batch = self.prepare_batch(batch, progress, seed)
        state_BLD = network.text(batch.input_BL, batch.position_BL[:, :-1], batch.is_causal_B)
        share = batch.causal_share
        value, nats_N = weighted_nats(
            state_BLD.flatten(0, 1).index_select(0, batch.scored_N),
            network.text.embed_tokens.weight,
            batch.token_BL[:, 1:].flatten().index_select(0, batch.scored_N),
            share * batch.causal_weight_N + (1 - share) * batch.masked_weight_N,
            self.z_loss * batch.all_weight_N,
            is_compiled=network.text.is_compiled,
        )
        parts = {"value": value}
        if share > 0:
            parts["causal_nats_per_token"] = (nats_N * batch.causal_weight_N).sum()
        if share < 1:
            parts["masked_nats_per_token"] = (nats_N * batch.masked_weight_N).sum()
        return Loss(value, {k: v.detach() for k, v in parts.items()})

    def prepare_batch(self, batch: TextRows, progress: float, seed: int) -> HybridBatch:
        """Gives each row its kind, and puts causal rows first; see `Objective.prepare_batch`."""
        rows = self.draw_rows(batch, progress, seed)
        # Causal rows first: attention skips what lies ahead in leading ones (`CausalMask`).
        order_B = rows.is_causal_B.long().argsort(descending=True, stable=True)
        rows = Rows(*(tensor[order_B] for tensor in rows))
        weights = _mean_weights(rows)
        device = batch.token_BL.device
        order_B = order_B.to(device)
        return HybridBatch(
            batch.token_BL[order_B],
            batch.position_BL[order_B],
            rows.input_BL.to(device),
            rows.is_causal_B.to(device),
            rows.scored_BL.flatten().nonzero()[:, 0].to(device),
            weights.causal_N.to(device),
            weights.masked_N.to(device),
            weights.all_N.to(device),
            weights.causal_share,
        )

    def held_out(self, network: Network, batch: TextRows, seed: int) -> dict[str, Tensor]:
        """Causal nats of all rows, and masked nats of all that are not infilled.

        So runs with other `masked_rows` compare on the same rows. `value` weights the two as the
        loss does at the end of a run. Without masked rows nothing is masked here either. See
        `Objective.held_out`.
        """
        found = self._with_share(0.0).loss(network, batch, 1.0, seed).parts
        if not any(self.masked_rows):
            return found
        masked = self._with_share(1.0).loss(network, batch, 1.0, seed).parts
        value = torch.lerp(found["value"], masked["value"], self.masked_rows[1])
        return masked | found | {"value": value}

    def _with_share(self, masked: float) -> "HybridLanguage":
        """The same objective with another share of masked rows."""
        other = copy(self)
        other.masked_rows = (masked, masked)
        return other

    def flops(self, network: Network, batch: TextRows | HybridBatch) -> int:
        """As if every position were scored; see `Objective.flops`."""
        rows, length = batch.token_BL[:, 1:].shape
        return 3 * text_flops(network.text, rows, length, rows * length)

    def draw_rows(self, batch: TextRows, progress: float, seed: int) -> Rows:
        """Draws the kind of each row, hides tokens in the masked ones, and says what is scored.

        The tensors are in CPU memory.
        """
        share = _between(self.masked_rows, progress)
        rate = _between(self.mask_rate, progress)
        number_B, token_BL = batch.row_B.tolist(), batch.token_BL.cpu().numpy()
        infill_B = batch.infill_B.tolist()
        is_causal_B = np.array(
            [
                infilled or hash_unit(seed, 11, n) >= share
                for n, infilled in zip(number_B, infill_B, strict=True)
            ]
        )
        input_BL, target_BL = token_BL[:, :-1].copy(), token_BL[:, 1:]
        # A BOS begins another document, which cannot be predicted from what precedes it; after an
        # EOS comes such a BOS or padding. Whether a piece is to be infilled is no property of text:
        # learned behind BOS, it would take likelihood from the beginnings of all texts.
        scored_BL = (target_BL != _BOS) & (target_BL != _PREFIX) & (input_BL != _EOS)
        id_limit = ranks.largest(int(token_BL.max())) + 1
        for b in np.flatnonzero(~is_causal_B):
            generator = np.random.Generator(np.random.Philox(key=[seed, number_B[b]]))
            hidden_L = _spans(input_BL[b] >= _FIRST_PLAIN, rate, self.longest_span, generator)
            input_BL[b] = _corrupted(input_BL[b], hidden_L, id_limit, generator)
            scored_BL[b] = False
            scored_BL[b, :-1] = hidden_L[1:]
        return Rows(*(torch.from_numpy(x) for x in (input_BL, is_causal_B, scored_BL)))


class _MeanWeights(NamedTuple):
    """What a scored position adds to the means of causal, of masked and of all positions.

    A sum of values times these is a process's part of a mean (`ranks`).
    """

    causal_share: float  # of the rows of all processes
    causal_N: Tensor
    masked_N: Tensor
    all_N: Tensor


def _mean_weights(rows: Rows) -> _MeanWeights:
    causal_N = rows.is_causal_B[:, None].expand_as(rows.scored_BL)[rows.scored_BL]
    kinds = torch.stack((causal_N, ~causal_N, torch.ones_like(causal_N))).float()
    counted = torch.cat((rows.is_causal_B.float().mean()[None], kinds.sum(1)))
    share, *counts = ranks.average(counted).tolist()
    least = 1 / ranks.world()
    weights = (kind_N / max(n, least) for kind_N, n in zip(kinds, counts, strict=True))
    return _MeanWeights(share, *weights)


def _between(ends: tuple[float, float], progress: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * min(max(progress, 0.0), 1.0)


def _spans(
    plain_L: np.ndarray, rate: float, longest: int, generator: np.random.Generator
) -> np.ndarray:
    """Marks about `rate` of the plain tokens, in spans of 1 to `longest`; never the first token."""
    hidden_L = np.zeros(len(plain_L), dtype=bool)
    starts = np.flatnonzero(generator.random(len(plain_L)) < _share_of_starts(rate, longest))
    for start, span in zip(starts, generator.integers(1, longest + 1, len(starts)), strict=True):
        hidden_L[start : start + span] = True
    hidden_L[0] = False
    return hidden_L & plain_L


@lru_cache(maxsize=8)  # the rows of a step have one rate
def _share_of_starts(rate: float, longest: int) -> float:
    """The share of tokens at which a span begins, so that `rate` of all are hidden.

    A token stays visible if no span begins at it, and none that begins before it reaches it: one
    that begins d tokens earlier reaches it in (longest - d) of `longest` cases.
    """
    reach = np.arange(1, longest + 1) / longest
    return (
        bisect_left(range(_FINE), rate, key=lambda n: 1 - float(np.prod(1 - n / _FINE * reach)))
        / _FINE
    )


def _corrupted(
    input_L: np.ndarray, hidden_L: np.ndarray, id_limit: int, generator: np.random.Generator
) -> np.ndarray:
    """Of the hidden tokens, 80 % become the mask, 10 % a random token, and 10 % stay.

    As in BERT (Devlin et al. 2019, arXiv:1810.04805).
    """
    draw_L = generator.random(len(input_L))
    other_L = generator.integers(_FIRST_PLAIN, id_limit, len(input_L))
    changed_L = np.where(draw_L < 0.8, _MASK, np.where(draw_L < 0.9, other_L, input_L))
    return np.where(hidden_L, changed_L, input_L)
