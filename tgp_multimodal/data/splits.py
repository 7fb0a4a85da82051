"""Which items are for training and which for validation: a hash of each says so."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from tgp_multimodal.data.records import Document

T = TypeVar("T")


class Keyed(NamedTuple):
    """An item on its way to a split.

    Attributes:
        split: the split, where that is fixed.
        unit: its hash, from 0 to 1, which decides otherwise.
        stream: its stream.
        item: whatever it is.
    """

    split: str | None
    unit: float
    stream: str
    item: Any


def split(items: Iterable[Keyed], share: float, halve: Callable[[Any], Any]) -> Iterator[Any]:
    """Gives each item its split, and validation at least one of every stream if that is possible.

    As long as a stream has none in validation, its item with the smallest hash is held back, which
    is the one that a larger share would take first. The only item of a stream is halved.

    Yields:
        Pairs of a split's name and an item.
    """
    held: dict[str, Keyed] = {}
    total: Counter[str] = Counter()
    validated: set[str] = set()
    for keyed in items:
        stream = keyed.stream
        total[stream] += 1
        if keyed.split is not None or share == 0:
            if keyed.split == "validation":
                validated.add(stream)
            yield keyed.split or "train", keyed.item
        elif keyed.unit < share:
            validated.add(stream)
            yield "validation", keyed.item
        elif stream in validated:
            yield "train", keyed.item
        else:
            both = sorted([keyed, *filter(None, [held.get(stream)])], key=lambda k: k.unit)
            held[stream] = both[0]
            yield from (("train", other.item) for other in both[1:])
    for stream, keyed in held.items():
        if total[stream] == 1:
            yield from halve(keyed.item)
        else:
            yield "train" if stream in validated else "validation", keyed.item


def smallest(texts: Iterable[tuple[float, str]], room: int) -> list[str]:
    """Those of the smallest hashes that have room together, largest hash first, at least one.

    They do not depend on the order: no text comes in behind one that had no room.

    Args:
        texts: each with its hash.
        room: how many characters are wanted at most.
    """
    heap: list[tuple[float, str]] = []
    ceiling = float("inf")
    for unit, text in texts:
        if unit >= ceiling:
            continue
        heapq.heappush(heap, (-unit, text))
        room -= len(text)
        while room < 0 and len(heap) > 1:
            above, dropped = heapq.heappop(heap)
            ceiling, room = -above, room + len(dropped)
    return [text for _, text in sorted(heap)]


def undivided(item: T) -> Iterator[tuple[str, T]]:
    """Leaves the only item of a stream to training, for one that cannot be cut."""
    yield "train", item


def halved(document: Document, share: float) -> Iterator[tuple[str, Document]]:
    """Cuts the only document there is at a line's end, so that its tail can be validation."""
    text = document.text
    cut = int(len(text) * (1 - share))
    cut = max(text.rfind("\n", 0, cut), text.rfind(" ", 0, cut) if "\n" not in text else -1) + 1
    if not text[:cut].strip() or not text[cut:].strip():
        yield "train", document
        return
    yield "train", document._replace(text=text[:cut])
    yield "validation", document._replace(text=text[cut:])
