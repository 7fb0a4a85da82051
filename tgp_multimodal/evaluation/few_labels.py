"""Draws the few items of a training split whose labels are shown.

The order in which a class's items are drawn depends on the seed and these items alone, not on the
order of classes, the process, or how many are asked for. So draws are nested: the items drawn for
one label per class are among those for five, and a curve over counts only ever adds labels.
"""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Drawn(NamedTuple):
    """Items whose labels are shown.

    Attributes:
        places: of the items, ascending.
        short: class -> how many it has, of those that have fewer than were asked for and so give
            all.
    """

    places: list[int]
    short: dict[Hashable, int]


def draw(
    labels: Sequence[Hashable],
    per_class: int,
    seed: int,
    digests: Sequence[str] | None = None,
) -> Drawn:
    """Draws so many items of each class.

    The items of a class are drawn in the order of the SHA-256 of the seed and the item's name: as
    with a counter-based random number generator, no draw depends on another.

    Args:
        labels: class of each item.
        per_class: at least 1.
        seed: of the draw.
        digests: what names each item; the place in the list where left out. Items of one digest
            come in the order of the list.

    Raises:
        ValueError: `per_class` is less than 1, or there are not as many digests as labels.
    """
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1. Got {per_class} instead.")
    names = [*map(str, range(len(labels)))] if digests is None else digests
    if len(names) != len(labels):
        raise ValueError(
            f"digests must be as many as labels, {len(labels)}. Got {len(names)} instead."
        )
    of_class: dict[Hashable, list[int]] = defaultdict(list)
    for place, label in enumerate(labels):
        of_class[label].append(place)
    turns = [hashlib.sha256(f"{seed}|{name}".encode()).digest() for name in names]
    places = [
        place
        for members in of_class.values()
        for place in sorted(members, key=lambda member: (turns[member], member))[:per_class]
    ]
    short = {label: len(own) for label, own in of_class.items() if len(own) < per_class}
    return Drawn(sorted(places), short)
