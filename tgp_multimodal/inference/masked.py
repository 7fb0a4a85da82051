"""Pseudo-log-likelihood: each token of a text is predicted from all the others.

Shape letters: B hidden tokens of one pass, L length, D width, W windows of one length, T texts.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.fused import fused
from tgp_multimodal.inference.likelihoods import Likelihood
from tgp_multimodal.inference.text import BATCH_TOKENS, device_of, log_probabilities
from tgp_multimodal.models.text_transformer import TextTransformer


class _Window(NamedTuple):
    """A stretch of one text that is read at once.

    Attributes:
        owner: number of the text.
        ids: what is read.
        hidden: the places in it that are hidden, one after the other.
    """

    owner: int
    ids: list[int]
    hidden: range


@torch.inference_mode()
def score(
    text: TextTransformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    batch_tokens: int = BATCH_TOKENS,
) -> list[Likelihood]:
    """Pseudo-log-likelihoods of whole texts in nats, in order.

    After Salazar et al. 2020 (arXiv:1910.14659), with a shifted head: a text is read as
    `[BOS] ids [EOS]`, the way a document stands in a masked row of training
    (`objectives.language`). Every position sees every other, and the token at position k + 1, with
    the mask in its place, is predicted by the state at position k. BOS and EOS are never hidden.
    A text longer than the context is cut into windows, each token is hidden in one of them, and the
    last window keeps a full context. An empty text costs nothing.

    Rows of one pass have exactly one length, so that there is no padding to mask.

    Args:
        text: the network, trained with masked rows.
        tokenizer: its tokenizer.
        texts: what to read; a text of n tokens is read n times.
        batch_tokens: positions of one forward pass; no number depends on it beyond rounding.

    Returns:
        sums of log-probabilities, numbers of tokens, and whether each token was the most probable.
    """
    distinct = {name: number for number, name in enumerate(dict.fromkeys(texts))}
    encoded = tokenizer.encode_batch(list(distinct))
    by_length: dict[int, list[_Window]] = {}
    for owner, ids in enumerate(encoded):
        for window in _windows(owner, [tokenizer.bos, *ids, tokenizer.eos], text.context):
            by_length.setdefault(len(window.ids), []).append(window)
    nats_T = torch.zeros(len(encoded), dtype=torch.float64)
    misses_T = torch.zeros(len(encoded), dtype=torch.long)
    for windows in by_length.values():
        for owner_B, nats_B, greedy_B in _guesses(text, tokenizer.mask, windows, batch_tokens):
            nats_T.index_add_(0, owner_B, nats_B)
            misses_T.index_add_(0, owner_B, (~greedy_B).long())
    nats, misses = nats_T.tolist(), misses_T.tolist()
    found = [Likelihood(nats[i], len(ids), not misses[i]) for i, ids in enumerate(encoded)]
    return [found[distinct[name]] for name in texts]


def _windows(owner: int, whole: list[int], context: int) -> Iterator[_Window]:
    """Cuts `[BOS] ids [EOS]` into windows of at most `context`; each id is hidden in one."""
    done, last = 1, len(whole) - 1
    while done < last:
        stop = min(done + context - 1, len(whole))
        start = max(0, stop - context)
        yield _Window(owner, whole[start:stop], range(done - start, min(stop, last) - start))
        done = stop


def _guesses(
    text: TextTransformer, mask: int, windows: Sequence[_Window], batch_tokens: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Owner, log-probability and whether it was the arg max of each hidden token, (B,) each."""
    network, device = fused(text), device_of(text)
    id_WL = torch.tensor([w.ids for w in windows], device=device)
    owner_W = torch.tensor([w.owner for w in windows])
    asked = torch.tensor([(row, place) for row, w in enumerate(windows) for place in w.hidden])
    for part in torch.split(asked, max(1, batch_tokens // id_WL.shape[1])):
        row_B, place_B = part.to(device).unbind(1)
        index_B = torch.arange(len(part), device=device)
        token_BL = id_WL[row_B]
        target_B = token_BL[index_B, place_B]
        token_BL[index_B, place_B] = mask
        state_BD = network.states(token_BL)[index_B, place_B - 1]
        yield owner_W[part[:, 0]], *log_probabilities(text, state_BD, target_B)
