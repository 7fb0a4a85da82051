"""Shared prefixes, read once: prefix trees packed into rows, after a prefix in a key/value cache.

The choices of a question share its context, and all questions share their few-shot examples. A tree
holds each shared prefix once; its nodes are one row, a node attends to its ancestors and itself,
and its position is its depth, so every path is computed as if it were alone. A prefix common to
many trees is read before them, into a cache.

Shape letters: B trees of a batch, L nodes of a tree, M prefix and nodes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

CAPACITY = 256  # nodes of a tree, where its longest path needs no more
SHORTEST_PREFIX = 64  # a shorter one is not worth a pass of its own
_WORTH = 0.25  # share of a row that it must have in common with its tree

Ids = Sequence[int]


class Tree(NamedTuple):
    """One packed row.

    Attributes:
        tokens: id of each node; a parent stands before its children.
        depths: number of ancestors of each node inside the tree.
        ends: the node behind the last descendant of each node.
        paths: number of a row -> the nodes of its ids.
    """

    tokens: list[int]
    depths: list[int]
    ends: list[int]
    paths: dict[int, list[int]]


class PrefixGroup(NamedTuple):
    """Trees behind one prefix.

    Attributes:
        prefix: ids that every row of the trees begins with, not in the trees; may be empty.
        trees: of what is behind it.
    """

    prefix: tuple[int, ...]
    trees: list[Tree]


def group_by_prefix(
    rows: Sequence[Ids], needed: Sequence[int], capacity: int = CAPACITY
) -> list[PrefixGroup]:
    """Arranges rows so that shared beginnings are read once.

    Args:
        rows: ids of each row, not empty; all lists or all tuples.
        needed: for each row the place of the first state that is wanted; a prefix ends before it.
        capacity: most nodes of a tree, unless one row alone has more.

    Returns:
        groups whose paths hold each row once; trees without a prefix are one group, whatever
        they hold, so that they are read many at a time.
    """
    order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))
    found: list[PrefixGroup] = []
    loose: list[int] = []
    for run in _runs(rows, order):
        prefix = _common(rows[run[0]], rows[run[-1]])
        prefix = min(prefix, min(needed[i] for i in run))
        if prefix >= SHORTEST_PREFIX and len(_trees(rows, run, 0, capacity)) > 1:
            found.append(
                PrefixGroup(tuple(rows[run[0]][:prefix]), _trees(rows, run, prefix, capacity))
            )
        else:
            loose.extend(run)
    # What is too short for a prefix may still be worth a tree: the choices of a short question.
    return [*found, PrefixGroup((), _trees(rows, loose, 0, capacity))] if loose else found


def one_tree_each(rows: Sequence[Ids]) -> PrefixGroup:
    """Each row as a tree of its own, for networks that read no trees."""
    return PrefixGroup(
        (),
        [
            Tree(list(row), [*range(len(row))], [len(row)] * len(row), {i: [*range(len(row))]})
            for i, row in enumerate(rows)
        ],
    )


def visible(trees: Sequence[Tree], length: int, prefix: int) -> np.ndarray:
    """Which column each node sees, (B, L, M): the prefix, its ancestors and itself.

    Args:
        trees: of one group.
        length: nodes of the longest, L.
        prefix: ids in front of the trees.
    """
    # Padding comes after a tree's nodes, and sees the prefix and the padding up to itself.
    end_BL = np.full((len(trees), length), length)
    for end_L, tree in zip(end_BL, trees, strict=True):
        end_L[: len(tree.ends)] = tree.ends
    index_L = np.arange(length)
    behind_LL = index_L[:, None] >= index_L
    tree_BLL = behind_LL & (index_L[:, None] < end_BL[:, None, :])
    prefix_BLP = np.ones((len(trees), length, prefix), dtype=bool)
    return np.concatenate((prefix_BLP, tree_BLL), axis=2)


def _runs(rows: Sequence[Ids], order: Sequence[int]) -> Iterator[list[int]]:
    """Cuts sorted rows where neighbours do not share a prefix that would be worth a pass."""
    run: list[int] = []
    for i in order:
        if run and _common(rows[run[-1]], rows[i]) < SHORTEST_PREFIX:
            yield run
            run = []
        run.append(i)
    if run:
        yield run


def _trees(rows: Sequence[Ids], run: Sequence[int], prefix: int, capacity: int) -> list[Tree]:
    """Packs what is behind the prefix of sorted rows."""
    trees: list[Tree] = []
    path: list[int] = []
    last: Ids = ()
    for i in run:
        ids = rows[i][prefix:]
        shared = _common(last, ids)
        # After a prefix, unrelated rows share a tree too: copies of the prefix's cache cost more
        # than a wider mask.
        is_worth = prefix or shared >= _WORTH * len(ids)
        if not trees or not is_worth or len(trees[-1].tokens) + len(ids) - shared > capacity:
            trees.append(Tree([], [], [], {}))
            path, shared = [], 0
        tree = trees[-1]
        for node in path[shared:]:
            tree.ends[node] = len(tree.tokens)
        path = [*path[:shared], *range(len(tree.tokens), len(tree.tokens) + len(ids) - shared)]
        tree.tokens.extend(ids[shared:])
        tree.depths.extend(range(shared, len(ids)))
        tree.ends.extend([-1] * (len(ids) - shared))
        tree.paths[i] = path
        last = ids
    for tree in trees:
        whole = len(tree.tokens)
        tree.ends[:] = [end if end >= 0 else whole for end in tree.ends]
    return trees


def _common(a: Ids, b: Ids) -> int:
    """How many ids both begin with."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # binary search: slices compare faster than ids one by one
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
