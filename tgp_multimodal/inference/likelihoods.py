"""Log-likelihoods of many rows by any network that reads packed trees: the part that all share.

Duplicate rows are computed once, shared prefixes are read once (`prefix_trees`), and the rows of a
forward pass have similar lengths. What is left to the network is a `TreeScorer`: ours is in `text`,
that of stock models in `adapters.hf_reading`.

Shape letters: B batch, L length, N number of scored positions, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tgp_multimodal.inference.prefix_trees import PrefixGroup, group_by_prefix, one_tree_each


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


class Row(NamedTuple):
    """Ids of which the last `scored` are scored, each given all before it."""

    ids: list[int]
    scored: int


class ScoredPositions(NamedTuple):
    """The N positions of a batch of trees at which a token is scored.

    Attributes:
        tree: number of the tree in the batch.
        node: the node whose state predicts.
        target: the id whose probability is asked.
    """

    tree: list[int]
    node: list[int]
    target: list[int]


class TreeScorer(ABC):
    """Scores target tokens in trees after a prefix that they share.

    Attributes:
        packs_trees: False if it cannot read trees; it then gets each row alone, and no prefix.
    """

    packs_trees = True

    @abstractmethod
    def prefill(self, prefix: Sequence[int]) -> Any:
        """Reads a prefix, not empty, once; what it gives comes back to `score_targets`."""

    @abstractmethod
    def score_targets(
        self, group: PrefixGroup, prefix_cache: Any, positions: ScoredPositions
    ) -> tuple[Tensor, Tensor]:
        """Nats of each target, (N,) in float64, and whether it is the arg max, (N,); on the CPU.

        Args:
            group: a prefix and so many trees as are read at once.
            prefix_cache: what `prefill` gave for the prefix; None where it is empty.
            positions: what to guess.
        """


def continuation_row(
    front: Sequence[int],
    context: Sequence[int],
    whole: Sequence[int],
    encode_continuation: Callable[[], list[int]],
) -> Row:
    """The row of a continuation: the ids of the whole after as many as the context alone has.

    Args:
        front: ids in front of every text.
        context: ids of the context alone.
        whole: ids of context and continuation as one string.
        encode_continuation: gives the ids of the continuation alone where the join swallowed it:
            then it has no ids of its own and is cut off by force.
    """
    if len(whole) <= len(context):
        whole = [*context, *encode_continuation()]
    return Row([*front, *whole], len(whole) - len(context))


def rolling_windows(row: Row, length: int) -> list[Row]:
    """Cuts a row into windows that read at most `length` ids; each scored id is in one of them.

    As lm-eval's rolling log-likelihood does: the last window keeps a full context.
    """
    found = []
    done = len(row.ids) - row.scored
    while done < len(row.ids):
        scored = min(len(row.ids) - done, length)
        done += scored
        found.append(Row(row.ids[max(0, done - length - 1) : done], scored))
    return found


def sum_windows(
    scorer: TreeScorer, groups: Sequence[Sequence[Row]], batch_tokens: int
) -> list[Likelihood]:
    """One log-likelihood for each group of rows, the windows of one string."""
    parts = iter(likelihoods(scorer, [row for group in groups for row in group], batch_tokens))
    sums = []
    for group in groups:
        own = [next(parts) for _ in group]
        tokens = sum(row.scored for row in group)
        sums.append(Likelihood(sum(p[0] for p in own), tokens, all(p[1] for p in own)))
    return sums


@torch.inference_mode()
def likelihoods(
    scorer: TreeScorer, rows: Sequence[Row], batch_tokens: int
) -> list[tuple[float, bool]]:
    """Summed log-probability of each row's scored ids, and whether all of them are arg max."""
    users: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        if row.scored:
            users.setdefault(tuple(row.ids[:-1]), []).append(index)
    inputs = list(users)
    needed = [min(len(i) - rows[user].scored for user in users[i]) for i in inputs]
    answers: list[tuple[float, bool]] = [(0.0, True)] * len(rows)
    for group in group_by_prefix(inputs, needed) if scorer.packs_trees else [one_tree_each(inputs)]:
        prefix_cache = scorer.prefill(group.prefix) if group.prefix else None
        for chosen in buckets([len(t.tokens) for t in group.trees], batch_tokens):
            trees = [group.trees[i] for i in chosen]
            asked = [
                (place, path[len(path) - rows[index].scored :], index)
                for place, tree in enumerate(trees)
                for i, path in tree.paths.items()
                for index in users[inputs[i]]
            ]
            for index, answer in _read(
                scorer, group._replace(trees=trees), prefix_cache, asked, rows
            ):
                answers[index] = answer
    return answers


def _read(
    scorer: TreeScorer,
    group: PrefixGroup,
    prefix_cache: Any,
    asked: Sequence[tuple[int, Sequence[int], int]],
    rows: Sequence[Row],
) -> Iterator[tuple[int, tuple[float, bool]]]:
    """Number and answer of each row, from its tree and the nodes whose states score it."""
    tree = [place for place, nodes, _ in asked for _ in nodes]
    node = [node for _, nodes, _ in asked for node in nodes]
    target = [token for _, _, index in asked for token in rows[index].ids[-rows[index].scored :]]
    nats_N, greedy_N = scorer.score_targets(
        group, prefix_cache, ScoredPositions(tree, node, target)
    )
    start = 0
    for _, nodes, index in asked:
        own = slice(start, start + len(nodes))
        yield index, (float(nats_N[own].sum()), bool(greedy_N[own].all()))
        start += len(nodes)


def target_log_probabilities(logits_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Nats of each target, (N,) in float64, and whether it is the arg max, (N,); on the CPU.

    The log-softmax is in float32 whatever the logits are in.
    """
    logits_NV = logits_NV.float()
    chosen_N = logits_NV.gather(1, target_N[:, None])[:, 0]
    nats_N = (chosen_N - logits_NV.logsumexp(dim=1)).double().cpu()
    return nats_N, (logits_NV.argmax(dim=1) == target_N).cpu()


def buckets(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Groups indices of similar length, longest first, of at most `batch_tokens` each."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        count = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count


def padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as one tensor (B, L), padded on the right, and its mask."""
    length = max(map(len, rows))
    token_BL = torch.full((len(rows), length), pad, dtype=torch.long)
    for index, row in enumerate(rows):
        token_BL[index, : len(row)] = torch.tensor(row, dtype=torch.long)
    count_B1 = torch.tensor([[len(row)] for row in rows])
    return token_BL.to(device), (torch.arange(length) < count_B1).to(device)
