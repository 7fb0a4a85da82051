"""The log-probability of every token of a text, and which tokens would have been more probable.

Shape letters: B batch, L length, N scored positions, V vocabulary, K alternatives.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tgp_multimodal.inference.fused import causal_mask, fused
from tgp_multimodal.inference.likelihoods import buckets, padded
from tgp_multimodal.inference.text import BATCH_TOKENS, device_of
from tgp_multimodal.models.text_transformer import TextTransformer

_PROJECTED = 1024  # positions whose logits are in memory at once


class TokenScore(NamedTuple):
    """What a network says of one token, given all before it.

    Attributes:
        nats: its natural log-probability.
        top_tokens: the most probable tokens there with theirs, best first.
    """

    nats: float
    top_tokens: list[tuple[int, float]]


@torch.inference_mode()
def token_scores(
    text: TextTransformer,
    rows: Sequence[Sequence[int]],
    starts: Sequence[int],
    top_k: int = 0,
    check: Callable[[], None] = lambda: None,
    batch_tokens: int = BATCH_TOKENS,
) -> list[list[TokenScore]]:
    """Scores of the ids of each row from `starts` on, in order.

    Args:
        text: the network.
        rows: ids, no more than the context.
        starts: of each row the first id to score, at least 1: nothing stands before id 0.
        top_k: how many alternatives to name.
        check: called between batches; may raise.
        batch_tokens: positions of one forward pass.
    """
    found: list[list[TokenScore]] = [[] for _ in rows]
    for chosen in buckets([len(row) for row in rows], batch_tokens):
        check()
        token_BL, _ = padded([rows[i] for i in chosen], 0, device_of(text))
        # Padding stands behind, where a causal row never looks.
        allowed = causal_mask(token_BL.shape[1], token_BL.device)
        state_BLD = fused(text).states(token_BL, None, allowed)
        for place, index in enumerate(chosen):
            start, end = starts[index], len(rows[index])
            state_ND, target_N = state_BLD[place, start - 1 : end - 1], token_BL[place, start:end]
            for first in range(0, end - start, _PROJECTED):
                own = slice(first, first + _PROJECTED)
                found[index] += _scores(text.logits(state_ND[own]), target_N[own], top_k)
    return found


def _scores(logits_NV: Tensor, target_N: Tensor, top_k: int) -> list[TokenScore]:
    log_p_NV = logits_NV.float().log_softmax(dim=1)
    nats_N = log_p_NV.gather(1, target_N[:, None])[:, 0].tolist()
    value_NK, token_NK = log_p_NV.topk(min(top_k, log_p_NV.shape[1]), dim=1)
    alternatives = zip(token_NK.tolist(), value_NK.tolist(), strict=True)
    return [
        TokenScore(nats, list(zip(tokens, values, strict=True)))
        for nats, (tokens, values) in zip(nats_N, alternatives, strict=True)
    ]
