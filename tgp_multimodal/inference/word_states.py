"""Contextual features of the words of a sentence, for taggers.

Shape letters: B batch, L length, D width, W words of one sentence.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.fused import fused
from tgp_multimodal.inference.likelihoods import buckets, padded
from tgp_multimodal.inference.text import BATCH_TOKENS, device_of
from tgp_multimodal.inference.text_features import places
from tgp_multimodal.models.text_transformer import TextTransformer

MOST_OF_A_WORD = 1536  # features: texts have thousands of words


@torch.inference_mode()
def word_states(
    text: TextTransformer,
    tokenizer: Tokenizer,
    sentences: Sequence[Sequence[str]],
    batch_tokens: int = BATCH_TOKENS,
) -> list[np.ndarray]:
    """Mean over the tokens of each word of their states at several layers, (W, places x D) each.

    BERT's tagger takes the first token alone (Devlin et al. 2019, arXiv:1810.04805, section 5.3);
    with a small vocabulary, which splits words into many pieces, a linear probe finds twice as many
    names from the mean. States are read from both sides and normed, as many layers side by side as
    there is room for in 1,536 numbers, the last one among them. BOS comes first. A sentence longer
    than the context is truncated, and its matrix lacks the words that begin in the part that is
    cut.

    Args:
        text: the network.
        tokenizer: its tokenizer.
        sentences: words, between which stands one space.
        batch_tokens: positions of one forward pass; no number depends on it beyond rounding.
    """
    encoded = tokenizer.encode_words(sentences)
    rows = [[tokenizer.bos, *ids][: text.context] for ids, _ in encoded]
    network, read = fused(text), places(text.depth + 1, text.width, MOST_OF_A_WORD)
    states = [np.zeros((0, len(read) * text.width), dtype=np.float32)] * len(rows)
    for chosen in buckets([len(row) for row in rows], batch_tokens):
        token_BL, mask_BL = padded([rows[i] for i in chosen], tokenizer.pad, device_of(text))
        seen_B1L = None if bool(mask_BL.all()) else mask_BL[:, None]
        walk = network.walk(token_BL, None, seen_B1L)
        chosen_ND = [network.normed(s) for place, s in enumerate(walk) if place in read]
        state_BLD = torch.cat(chosen_ND, dim=1).view(*token_BL.shape, -1).cpu().numpy()
        for place, index in enumerate(chosen):
            state_LD = state_BLD[place, 1 : len(rows[index])]
            spans = [(a, b) for a, b in encoded[index].spans if a < len(state_LD)]
            if spans:
                states[index] = np.stack([state_LD[a:b].mean(axis=0) for a, b in spans])
    return states
