"""What the text transformer answers about text: log-likelihoods of many strings, and features.

Rows are computed once however often they are asked for, what they share in front is read once
(`prefix_trees`), rows of one pass have about one length, and the vocabulary projection runs only
where a token is scored, with its log-softmax in float32.

Shape letters: B batch, L length, D width, N number of scored positions, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.fused import fused
from tgp_multimodal.inference.prefix_trees import Family, Tree, families, visible
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


class Likelihood(NamedTuple):
    """Log-likelihood of a string.

    Attributes:
        nats: sum of natural log-probabilities of its tokens, at most 0.
        tokens: how many there are.
        is_greedy: True if each was the most probable token.
    """

    nats: float
    tokens: int
    is_greedy: bool


class _Row(NamedTuple):
    """Ids of which the last `scored` are scored, each given all before it."""

    ids: list[int]
    scored: int


def score(
    text: TextTransformer,
    tokenizer: Tokenizer,
    queries: Sequence[Query],
    batch_tokens: int = BATCH_TOKENS,
) -> list[Likelihood]:
    """Log-likelihoods of the continuations, in order.

    The join is lm-eval's: white space at the end of a context moves to its continuation, both are
    tokenized as one string, and the continuation is what is left behind as many ids as the context
    alone has. BOS stands in front (lm-eval with `add_bos_token=True`). Rows longer than the context
    of the network lose their left end. An infilled continuation is scored without its EOS.
    """
    rows = _encode_queries(tokenizer, queries, text.context)
    return _add_up(text, [_windows(row, text.context) for row in rows], batch_tokens)


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
    rows = [_Row([tokenizer.bos, *ids], len(ids)) for ids in encoded]
    return _add_up(text, [_windows(row, text.context) for row in rows], batch_tokens)


@torch.inference_mode()
def embed(
    text: TextTransformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    depth: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> np.ndarray:
    """Mean over the tokens (BOS included) of the bidirectional, final-normed states, (N, D).

    Texts longer than the context lose their end. Equal to sentence-transformers with mean pooling.

    Args:
        text: the network.
        tokenizer: its tokenizer.
        texts: what to read.
        depth: how many layers to run; left out: all.
        batch_tokens: positions of one forward pass.
    """
    if not texts:
        return np.zeros((0, text.width), dtype=np.float32)
    distinct = {name: index for index, name in enumerate(dict.fromkeys(texts))}
    encoded = tokenizer.encode_batch(list(distinct), bos=True)
    rows = [ids[: text.context] for ids in encoded]
    means = np.empty((len(rows), text.width), dtype=np.float32)
    for chosen in buckets([len(r) for r in rows], batch_tokens):
        token_BL, mask_BL = padded([rows[i] for i in chosen], tokenizer.pad, device_of(text))
        seen_B1L = None if bool(mask_BL.all()) else mask_BL[:, None]
        state_BLD = fused(text).states(token_BL, None, seen_B1L, depth=depth).float()
        weight_BL1 = mask_BL[:, :, None].float()
        mean_BD = (state_BLD * weight_BL1).sum(1) / weight_BL1.sum(1)
        means[chosen] = mean_BD.cpu().numpy()
    return means[[distinct[name] for name in texts]]


def infilling_prompt(
    tokenizer: Tokenizer, prefix: Sequence[int], suffix: Sequence[int], room: int
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


def padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as one tensor (B, L), padded on the right, and its mask."""
    length = max(map(len, rows))
    token_BL = torch.full((len(rows), length), pad, dtype=torch.long)
    for index, row in enumerate(rows):
        token_BL[index, : len(row)] = torch.tensor(row, dtype=torch.long)
    count_B1 = torch.tensor([[len(row)] for row in rows])
    return token_BL.to(device), (torch.arange(length) < count_B1).to(device)


def device_of(text: TextTransformer) -> torch.device:
    """Where the network lives."""
    return text.embed_tokens.weight.device


def _encode_queries(tokenizer: Tokenizer, queries: Sequence[Query], length: int) -> list[_Row]:
    moved = [_move_space(q) for q in queries]
    names = dict.fromkeys(
        name
        for q in moved
        for name in (
            (q.context, q.continuation, q.suffix)
            if q.suffix is not None
            else (q.context, q.context + q.continuation)
        )
    )
    ids = dict(zip(names, tokenizer.encode_batch(list(names)), strict=True))
    return [_encode_query(tokenizer, q, ids, length) for q in moved]


def _encode_query(
    tokenizer: Tokenizer, query: Query, ids: dict[str, list[int]], length: int
) -> _Row:
    if query.suffix is not None:
        middle = ids[query.continuation]
        room = max(4, length + 1 - len(middle))
        prompt = infilling_prompt(tokenizer, ids[query.context], ids[query.suffix], room)
        return _Row(prompt + middle, len(middle))
    context, whole = ids[query.context], ids[query.context + query.continuation]
    if query.continuation and len(whole) <= len(context):
        # The join swallowed the continuation: it has no ids of its own, so it is cut off by force.
        whole = context + tokenizer.encode(query.continuation)
    return _Row([tokenizer.bos, *whole], len(whole) - len(context))


def _move_space(query: Query) -> Query:
    if query.suffix is not None:
        return query
    kept = query.context.rstrip()
    return Query(kept, query.context[len(kept) :] + query.continuation)


def _windows(row: _Row, length: int) -> list[_Row]:
    """Cuts a row into windows that read at most `length` ids; each scored id is in one of them."""
    windows = []
    done = len(row.ids) - row.scored
    while done < len(row.ids):
        scored = min(len(row.ids) - done, length)
        done += scored
        windows.append(_Row(row.ids[max(0, done - length - 1) : done], scored))
    return windows


def _add_up(
    text: TextTransformer, windows: Sequence[Sequence[_Row]], batch_tokens: int
) -> list[Likelihood]:
    rows = [row for group in windows for row in group]
    parts = iter(_likelihoods(text, rows, batch_tokens))
    sums = []
    for group in windows:
        own = [next(parts) for _ in group]
        tokens = sum(row.scored for row in group)
        sums.append(Likelihood(sum(p[0] for p in own), tokens, all(p[1] for p in own)))
    return sums


@torch.inference_mode()
def _likelihoods(
    text: TextTransformer, rows: Sequence[_Row], batch_tokens: int
) -> list[tuple[float, bool]]:
    """Summed log-probability of each row's scored ids, and whether all of them are arg max."""
    users: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        if row.scored:
            users.setdefault(tuple(row.ids[:-1]), []).append(index)
    inputs = list(users)
    needed = [min(len(i) - rows[user].scored for user in users[i]) for i in inputs]
    answers: list[tuple[float, bool]] = [(0.0, True)] * len(rows)
    for family in families(inputs, needed):
        for trees, state_BLD in _tree_states(text, family, batch_tokens):
            asked = [
                (place, path[len(path) - rows[index].scored :], index, rows[index])
                for place, tree in enumerate(trees)
                for i, path in tree.paths.items()
                for index in users[inputs[i]]
            ]
            for index, answer in _read(text, state_BLD, asked):
                answers[index] = answer
    return answers


def _tree_states(
    text: TextTransformer, family: Family, batch_tokens: int
) -> Iterator[tuple[list[Tree], Tensor]]:
    """Trees with the states of their nodes, (B, L, D), some at a time."""
    network, device = fused(text), device_of(text)
    prefix = len(family.prefix)
    cache = None
    if prefix:
        cache = text.new_cache(1, prefix)
        causal_LL = torch.ones(prefix, prefix, dtype=torch.bool, device=device).tril()
        network.states(torch.tensor([family.prefix], device=device), None, causal_LL[None], cache)
    for chosen in buckets([len(t.tokens) for t in family.trees], batch_tokens):
        trees = [family.trees[i] for i in chosen]
        token_BL, _ = padded([t.tokens for t in trees], 0, device)
        depth_BL, _ = padded([t.depths for t in trees], 0, device)
        length = token_BL.shape[1]
        own = None
        if cache is not None:
            first_B = torch.zeros(len(trees), dtype=torch.long, device=device)
            own = cache.rows(first_B, prefix + length)
        allowed_BLM = torch.from_numpy(visible(trees, length, prefix)).to(device)
        yield trees, network.states(token_BL, depth_BL + prefix, allowed_BLM, own)


def _read(
    text: TextTransformer,
    state_BLD: Tensor,
    asked: Sequence[tuple[int, Sequence[int], int, _Row]],
) -> Iterator[tuple[int, tuple[float, bool]]]:
    """Number and answer of each row, from its tree and the nodes whose states score it."""
    place = [tree for tree, nodes, _, _ in asked for _ in nodes]
    position = [node for _, nodes, _, _ in asked for node in nodes]
    target = [token for _, _, _, row in asked for token in row.ids[-row.scored :]]
    state_ND = state_BLD[place, position]
    nats_N, greedy_N = log_probabilities(text, state_ND, torch.tensor(target).to(state_ND.device))
    start = 0
    for _, _, index, row in asked:
        own = slice(start, start + row.scored)
        yield index, (float(nats_N[own].sum()), bool(greedy_N[own].all()))
        start += row.scored


def log_probabilities(
    text: TextTransformer, state_ND: Tensor, target_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Nats of each target given its state, (N,) in float64, and whether it is the arg max, (N,).

    Both on the CPU; the log-softmax is in float32, some positions at a time.
    """
    nats, greedy = [], []
    for start in range(0, len(target_N), _PROJECTED):
        own = slice(start, start + _PROJECTED)
        logits_NV, target = text.logits(state_ND[own]).float(), target_N[own]
        chosen_N = logits_NV.gather(1, target[:, None])[:, 0]
        nats.append((chosen_N - logits_NV.logsumexp(dim=1)).double().cpu())
        greedy.append((logits_NV.argmax(dim=1) == target).cpu())
    return torch.cat(nats), torch.cat(greedy)


def buckets(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Groups indices of similar length, longest first, of at most `batch_tokens` each."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        count = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count
