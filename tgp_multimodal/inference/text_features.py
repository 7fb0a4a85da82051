"""Texts in, features out: states of all layers and activations of their feed-forward parts.

Shape letters: B batch, L length, N texts, D width of what is read, F units of a layer.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.fused import FusedText, fused
from tgp_multimodal.inference.likelihoods import buckets, padded
from tgp_multimodal.inference.text import BATCH_TOKENS, device_of
from tgp_multimodal.models.text_transformer import TextTransformer

_MOST = 4096  # features of a view


class View(NamedTuple):
    """What of the transformer is read.

    Attributes:
        reads: the residual stream behind the embeddings and behind each layer, normed, side by
            side, as ELMo's tasks do (Peters et al. 2018, arXiv:1802.05365, section 3.2, with
            weights for each channel); or the units of the layers, the activations of their
            feed-forward parts. Of deep or wide networks every second, third... layer, so that
            there are at most 4,096 features.
        is_causal: whether a token sees those before it alone, as in writing; else both sides.
    """

    reads: Literal["layers", "units"]
    is_causal: bool = False

    def __str__(self) -> str:
        return f"{self.reads}, {'causal' if self.is_causal else 'both sides'}"


VIEWS = tuple(View(reads, causal) for reads in ("layers", "units") for causal in (False, True))


@torch.inference_mode()
def features_of_views(
    text: TextTransformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    wanted: Sequence[View],
    batch_tokens: int = BATCH_TOKENS,
) -> list[np.ndarray]:
    """Features of each view, (N, D) each: means over the tokens of a text, BOS included.

    Texts longer than the context lose their end. Views of one direction share one forward pass.

    Args:
        text: the network.
        tokenizer: its tokenizer.
        texts: what to read.
        wanted: the views.
        batch_tokens: positions of one forward pass; no number depends on it beyond rounding.
    """
    rows = [ids[: text.context] for ids in tokenizer.encode_batch(list(texts), bos=True)]
    found = [np.empty((len(rows), feature_count(text, v)), dtype=np.float32) for v in wanted]
    for chosen in buckets([len(row) for row in rows], batch_tokens):
        token_BL, mask_BL = padded([rows[i] for i in chosen], tokenizer.pad, device_of(text))
        for is_causal in sorted({view.is_causal for view in wanted}):
            parts: dict[str, list[Tensor]] = {"layers": [], "units": []}
            for reads, mean_BD in _means(fused(text), token_BL, mask_BL, is_causal):
                parts[reads].append(mean_BD)
            for number, view in enumerate(wanted):
                if view.is_causal == is_causal:
                    own = parts[view.reads]
                    own = [own[i] for i in places(len(own), own[0].shape[1])]
                    found[number][chosen] = torch.cat(own, dim=1).cpu().numpy()
    return found


def feature_count(text: TextTransformer, view: View) -> int:
    """How many numbers a view has, D."""
    if view.reads == "layers":
        return len(places(text.depth + 1, text.width)) * text.width
    return len(places(text.depth, text.feed_forward)) * text.feed_forward


def _means(
    network: FusedText, token_BL: Tensor, mask_BL: Tensor, is_causal: bool
) -> Iterator[tuple[str, Tensor]]:
    """Means over the tokens of each text, (B, D) or (B, F), layer after layer."""
    length = token_BL.shape[1]
    if is_causal:  # padding is behind every token
        allowed = torch.ones(1, length, length, dtype=torch.bool, device=token_BL.device).tril()
    else:
        allowed = mask_BL[:, None]
    weight_B1L = (mask_BL.float() / mask_BL.sum(1, keepdim=True))[:, None]
    for stream_ND, unit_NF in network.walk(token_BL, None, allowed):
        for reads, read in (("layers", network.normed(stream_ND)), ("units", unit_NF)):
            if read is not None:
                read_BLD = read.float().view(*token_BL.shape, -1)
                yield reads, (weight_B1L @ read_BLD)[:, 0]


def places(count: int, width: int) -> range:
    """Which of `count` layers are read side by side, the last one always.

    Args:
        count: how many there are.
        width: features of each.
    """
    apart = -(-count * width // _MOST)
    return range((count - 1) % apart, count, apart)
