"""Features of the words of sentences, each read among all the others: what taggers stand on.

Shape letters: B batch, L length, D width, W words of one sentence.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.fused import fused
from tgp_multimodal.inference.likelihoods import buckets, padded
from tgp_multimodal.inference.text import BATCH_TOKENS, device_of
from tgp_multimodal.models.text_transformer import TextTransformer


@torch.inference_mode()
def word_states(
    text: TextTransformer,
    tokenizer: Tokenizer,
    sentences: Sequence[Sequence[str]],
    batch_tokens: int = BATCH_TOKENS,
) -> list[np.ndarray]:
    """Bidirectional, final-normed state at the first token of each word, (W, D) a sentence.

    The first token stands for its word, as in BERT's tagger (Devlin et al. 2019, arXiv:1810.04805,
    section 5.3). BOS stands in front. A sentence longer than the context loses its end, and its
    matrix the rows of the words that begin there.

    Args:
        text: the network.
        tokenizer: its tokenizer.
        sentences: words, between which stands one space.
        batch_tokens: positions of one forward pass; no number depends on it beyond rounding.
    """
    encoded = tokenizer.encode_words(sentences)
    rows = [[tokenizer.bos, *ids][: text.context] for ids, _ in encoded]
    states = [np.zeros((0, text.width), dtype=np.float32)] * len(rows)
    for chosen in buckets([len(row) for row in rows], batch_tokens):
        token_BL, mask_BL = padded([rows[i] for i in chosen], tokenizer.pad, device_of(text))
        seen_B1L = None if bool(mask_BL.all()) else mask_BL[:, None]
        state_BLD = fused(text).states(token_BL, None, seen_B1L).float().cpu().numpy()
        for place, index in enumerate(chosen):
            first_W = [p + 1 for p in encoded[index][1] if p + 1 < len(rows[index])]
            states[index] = state_BLD[place, first_W]
    return states
