"""What the text transformer answers about text: log-likelihoods of many strings, and features.

Likelihoods are put together by `likelihoods`; the vocabulary projection runs only where a token is
scored, with its log-softmax in float32.

Shape letters: B batch, L length, D width, M prefix and nodes, N number of scored positions, V
vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from tgp_multimodal.data.fast_encoding import encode_shared_lines
from tgp_multimodal.data.tokenizer import Tokenizer, move_space
from tgp_multimodal.inference.fused import causal_mask, fused
from tgp_multimodal.inference.likelihoods import (
    Likelihood,
    Row,
    ScoredPositions,
    TreeScorer,
    buckets,
    continuation_row,
    padded,
    rolling_windows,
    sum_windows,
    target_log_probabilities,
)
from tgp_multimodal.inference.prefix_trees import PrefixGroup, visible
from tgp_multimodal.models.layers import KeyValueCache, token_means
from tgp_multimodal.models.text_transformer import TextTransformer

BATCH_TOKENS = 2048  # positions of one forward pass, padding included: what caches hold
_PROJECTED = 2048  # scored positions whose logits are in memory at once


class Query(NamedTuple):
    """A continuation and what stands around it.

    Attributes:
        context: what stands before; may be empty.
        continuation: what is scored.
        suffix: what stands after (infilling: prefix, suffix, middle); None for plain continuation.
    """

    context: str
    continuation: str
    suffix: str | None = None


class InfillingTokens(Protocol):
    """Ids of the special tokens of an infilling prompt; a `Tokenizer` has them."""

    bos: int
    prefix: int
    suffix: int
    middle: int


def score(
    text: TextTransformer,
    tokenizer: Tokenizer,
    queries: Sequence[Query],
    batch_tokens: int = BATCH_TOKENS,
) -> list[Likelihood]:
    """Log-likelihoods of the continuations, in order.

    The join is lm-eval's: white space at the end of a context moves to its continuation, both are
    tokenized as one string, and the continuation is what is left behind as many ids as the context
    alone has. BOS stands in front (lm-eval with `add_bos_token=True`). A context too long for the
    network loses its left end; a continuation too long is scored in windows, as by `perplexity`.
    An infilled continuation is scored without its EOS.
    """
    rows = _encode_queries(tokenizer, queries, text.context)
    return sum_windows(
        _TextScorer(text), [rolling_windows(row, text.context) for row in rows], batch_tokens
    )


def perplexity(
    text: TextTransformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    batch_tokens: int = BATCH_TOKENS,
) -> list[Likelihood]:
    """Log-likelihoods of whole texts, however long, in order.

    Long ones are cut into windows as lm-eval's rolling log-likelihood cuts them: each token is
    scored once; the first window starts at BOS, the last keeps a full context.
    """
    encoded = tokenizer.encode_batch(texts)
    rows = [Row([tokenizer.bos, *ids], len(ids)) for ids in encoded]
    return sum_windows(
        _TextScorer(text), [rolling_windows(row, text.context) for row in rows], batch_tokens
    )


@torch.inference_mode()
def embed(
    text: TextTransformer,
    tokenizer: Tokenizer,
    texts: Sequence[str | Sequence[int]],
    batch_tokens: int = BATCH_TOKENS,
    check_cancelled: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Mean over the tokens (BOS included) of the bidirectional, final-normed states, (N, D).

    Texts longer than the context lose their end. Equal to sentence-transformers with mean pooling.

    Args:
        text: the network.
        tokenizer: its tokenizer.
        texts: what to read: texts, or ids.
        batch_tokens: positions of one forward pass.
        check_cancelled: called before each of them; what it raises ends the work.
    """
    if not texts:
        return np.zeros((0, text.width), dtype=np.float32)
    names = [one if isinstance(one, str) else tuple(one) for one in texts]
    distinct = {name: index for index, name in enumerate(dict.fromkeys(names))}
    written = [name for name in distinct if isinstance(name, str)]
    encoded = dict(zip(written, tokenizer.encode_batch(written, bos=True), strict=True))
    rows = [
        (encoded[name] if isinstance(name, str) else with_bos(tokenizer, name))[: text.context]
        for name in distinct
    ]
    means = np.empty((len(rows), text.width), dtype=np.float32)
    for chosen in buckets([len(r) for r in rows], batch_tokens):
        check_cancelled()
        token_BL, mask_BL = padded([rows[i] for i in chosen], tokenizer.pad, device_of(text))
        seen_B1L = None if bool(mask_BL.all()) else mask_BL[:, None]
        state_BLD = fused(text).states(token_BL, None, seen_B1L).float()
        means[chosen] = token_means(state_BLD, mask_BL).cpu().numpy()
    return means[[distinct[name] for name in names]]


def with_bos(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """Ids with a BOS in front, which they may have already."""
    return list(ids) if list(ids[:1]) == [tokenizer.bos] else [tokenizer.bos, *ids]


def infilling_prompt(
    tokenizer: InfillingTokens, prefix: Sequence[int], suffix: Sequence[int], room: int
) -> list[int]:
    """`[BOS] [PREFIX] prefix [SUFFIX] suffix [MIDDLE]`, ready for the middle (arXiv:2207.14255).

    Args:
        tokenizer: for the special tokens.
        prefix: ids before the gap; loses its left end if too long.
        suffix: ids after the gap; loses its right end if too long.
        room: most ids the prompt may have.

    Raises:
        ValueError: there is no room for the four special tokens.
    """
    room -= 4
    if room < 0:
        raise ValueError(
            f"room for an infilling prompt must be at least 4. Got {room + 4} instead."
        )
    after = min(len(suffix), max(room // 2, room - len(prefix)))
    before = min(len(prefix), room - after)
    kept = list(prefix[len(prefix) - before :])
    head = [tokenizer.bos, tokenizer.prefix, *kept, tokenizer.suffix]
    return [*head, *suffix[:after], tokenizer.middle]


def device_of(text: TextTransformer) -> torch.device:
    """Where the network lives."""
    return text.embed_tokens.weight.device


def _encode_queries(tokenizer: Tokenizer, queries: Sequence[Query], length: int) -> list[Row]:
    moved = [
        q if q.suffix is not None else Query(*move_space(q.context, q.continuation))
        for q in queries
    ]
    names = dict.fromkeys(
        name
        for q in moved
        for name in (
            (q.context, q.continuation, q.suffix)
            if q.suffix is not None
            else (q.context, q.context + q.continuation)
        )
    )
    ids = dict(zip(names, encode_shared_lines(tokenizer, list(names)), strict=True))
    return [_encode_query(tokenizer, q, ids, length) for q in moved]


def _encode_query(
    tokenizer: Tokenizer, query: Query, ids: dict[str, list[int]], length: int
) -> Row:
    if query.suffix is not None:
        middle = ids[query.continuation]
        room = max(4, length + 1 - len(middle))
        prompt = infilling_prompt(tokenizer, ids[query.context], ids[query.suffix], room)
        return Row(prompt + middle, len(middle))
    context, whole = ids[query.context], ids[query.context + query.continuation]
    return continuation_row(
        [tokenizer.bos], context, whole, lambda: tokenizer.encode(query.continuation)
    )


class _TextScorer(TreeScorer):
    """Our text transformer as a `TreeScorer`."""

    def __init__(self, text: TextTransformer) -> None:
        self.text, self.network, self.device = text, fused(text), device_of(text)

    def prefill(self, prefix: Sequence[int]) -> KeyValueCache:
        length, cache = len(prefix), self.text.new_cache(1, len(prefix))
        token_BL = torch.tensor([prefix], device=self.device)
        self.network.states(token_BL, None, causal_mask(length, self.device), cache)
        return cache

    def score_targets(
        self, group: PrefixGroup, prefix_cache: Any, positions: ScoredPositions
    ) -> tuple[Tensor, Tensor]:
        trees, prefix = group.trees, len(group.prefix)
        token_BL, _ = padded([t.tokens for t in trees], 0, self.device)
        depth_BL, _ = padded([t.depths for t in trees], 0, self.device)
        length = token_BL.shape[1]
        own = None
        if prefix_cache is not None:
            first_B = torch.zeros(len(trees), dtype=torch.long, device=self.device)
            own = prefix_cache.rows(first_B, prefix + length)
        allowed_BLM = torch.from_numpy(visible(trees, length, prefix)).to(self.device)
        state_BLD = self.network.states(token_BL, depth_BL + prefix, allowed_BLM, own)
        target_N = torch.tensor(positions.target, device=self.device)
        return log_probabilities(self.text, state_BLD[positions.tree, positions.node], target_N)


def log_probabilities(
    text: TextTransformer, state_ND: Tensor, target_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Nats of each target given its state, (N,) in float64, and whether it is the arg max, (N,).

    Both on the CPU; the log-softmax is in float32, some positions at a time.
    """
    nats, greedy = [], []
    for start in range(0, len(target_N), _PROJECTED):
        own = slice(start, start + _PROJECTED)
        nats_N, greedy_N = target_log_probabilities(text.logits(state_ND[own]), target_N[own])
        nats.append(nats_N)
        greedy.append(greedy_N)
    return torch.cat(nats), torch.cat(greedy)
