"""Several views of one item: each item is read once."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgp_multimodal.evaluation.requests import Embed


def in_views(
    requests: Sequence[Embed],
    read: Callable[[Sequence[Any], Sequence[str]], Sequence[np.ndarray]],
) -> list[np.ndarray]:
    """A vector for each request; an item that several views are asked of is read once.

    Args:
        requests: items and views.
        read: matrices (N, D) of items, one for each view.
    """
    keys = [r.item if isinstance(r.item, str) else id(r.item) for r in requests]
    items = dict(zip(keys, (r.item for r in requests), strict=True))
    asked: dict[str | int, dict[str, None]] = defaultdict(dict)  # a set that keeps its order
    for key, request in zip(keys, requests, strict=True):
        asked[key][request.view] = None
    groups: dict[tuple[str, ...], list[str | int]] = defaultdict(list)
    for key, views in asked.items():
        groups[tuple(views)].append(key)
    found: dict[tuple[str | int, str], np.ndarray] = {}
    for names, chosen in groups.items():
        for name, matrix in zip(names, read([items[key] for key in chosen], names), strict=True):
            found.update({(key, name): row for key, row in zip(chosen, matrix, strict=True)})
    return [found[key, r.view] for key, r in zip(keys, requests, strict=True)]
