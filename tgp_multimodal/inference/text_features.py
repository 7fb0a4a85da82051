"""Texts in, features out: the states of all layers side by side.

Shape letters: B batch, L length, N texts, D width of a state.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.fused import causal_mask, fused
from tgp_multimodal.inference.likelihoods import buckets, padded
from tgp_multimodal.inference.text import BATCH_TOKENS, device_of
from tgp_multimodal.models.layers import token_means
from tgp_multimodal.models.text_transformer import TextTransformer

LAYERS, CAUSAL_LAYERS = "layers", "layers, causal"
MOST_OF_A_TEXT = 4096  # features


@torch.inference_mode()
def features_of_layers(
    text: TextTransformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    is_causal: bool = False,
    batch_tokens: int = BATCH_TOKENS,
) -> np.ndarray:
    """Means over the tokens of a text (BOS included) of the residual stream, (N, places x D).

    The stream is read at the embeddings and behind each layer, normed as the next layer reads it.
    Tasks on top of ELMo have a weight for each layer (Peters et al. 2018, arXiv:1802.05365,
    equation 1), a probe has one for each channel of each. Of deep or wide networks every second,
    third... layer is read. Texts longer than the context lose their end.

    Args:
        text: the network.
        tokenizer: its tokenizer.
        texts: what to read.
        is_causal: whether a token sees those before it alone, as in writing; else both sides.
        batch_tokens: positions of one forward pass; no number depends on it beyond rounding.
    """
    rows = [ids[: text.context] for ids in tokenizer.encode_batch(list(texts), bos=True)]
    network, chosen_layers = fused(text), places(text.depth + 1, text.width)
    found = np.empty((len(rows), len(chosen_layers) * text.width), dtype=np.float32)
    for chosen in buckets([len(row) for row in rows], batch_tokens):
        token_BL, mask_BL = padded([rows[i] for i in chosen], tokenizer.pad, device_of(text))
        allowed = mask_BL[:, None]
        if is_causal:  # padding is behind every token
            allowed = causal_mask(token_BL.shape[1], token_BL.device)
        walk = network.walk(token_BL, None, allowed)
        means = [
            token_means(network.normed(stream_ND).view(*token_BL.shape, -1), mask_BL)
            for place, stream_ND in enumerate(walk)
            if place in chosen_layers
        ]
        found[chosen] = torch.cat(means, dim=1).cpu().numpy()
    return found


def last_of_layers(text: TextTransformer, features_ND: np.ndarray) -> np.ndarray:
    """Vectors as `text.embed` makes them, (N, D), of what `features_of_layers` read of both sides.

    The gains of the last norm are all that is missing, and they commute with the mean.
    """
    gain_D = text.norm.weight.detach().float().cpu().numpy()
    return features_ND[:, -text.width :] * gain_D


def places(count: int, width: int, most: int = MOST_OF_A_TEXT) -> range:
    """Which of `count` states are read side by side, the last one always.

    Args:
        count: how many there are, the embeddings among them.
        width: of each.
        most: numbers that there may be together, if one state has no more.
    """
    apart = -(-count // max(1, most // width))
    return range((count - 1) % apart, count, apart)
