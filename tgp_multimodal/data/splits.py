"""Which items are for training and which for validation: a hash of each says so."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from tgp_multimodal.data.records import Document

T = TypeVar("T")
Halve = Callable[[Any, float], Iterator[tuple[str, Any]]]

_OTHER = {"train": "validation", "validation": "train"}
_WHOLE = 0.2  # of a stream: what an item may take to validation without being cut


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


def split(
    items: Iterable[Keyed],
    share: float,
    halve: Halve | None = None,
    size: Callable[[Any], int] = lambda item: 1,
) -> Iterator[tuple[str, Any]]:
    """Assigns each item to a split, so that training and validation have some of every stream.

    If no item of a stream falls into validation, the one with the smallest hash goes there, which a
    larger share would take first; if none falls into training, the one with the largest hash does.
    Items of equal hashes stay together. An item that is the whole stream, or so large a part that
    training would miss it, is halved.

    Args:
        items: all of them, in any order.
        share: of validation.
        halve: cuts an item in two, of which the second is for validation and has about the share
            that it is told; None where items cannot be cut, and training takes the only one.
        size: of an item, in whatever unit.

    Yields:
        Pairs of a split's name and an item.
    """
    streams: dict[str, _Stream] = {}
    for keyed in items:
        stream = streams.setdefault(keyed.stream, _Stream(share))
        yield from stream.take(keyed, size(keyed.item))
    for stream in streams.values():
        yield from stream.rest(halve, size)


class _Stream:
    """A stream on its way: what has gone where, and what waits until the other side has some."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.total = 0  # size of all that came
        self.there: set[str] = set()  # splits that have some
        self.waiting: list[Keyed] = []  # of equal hashes

    def take(self, keyed: Keyed, size: int) -> Iterator[tuple[str, Any]]:
        self.total += size
        side = keyed.split or self._side(keyed)
        is_free = keyed.split is None and self.share > 0
        if is_free and _OTHER[side] not in self.there and self._waits_with(side):
            yield from self._wait(side, keyed)
        else:
            yield from self._give(side, [keyed])

    def rest(self, halve: Halve | None, size: Callable[[Any], int]) -> Iterator[tuple[str, Any]]:
        """What still waits: the other side has none, and gets it, or its part of it."""
        if not self.waiting:
            return
        side = self._side(self.waiting[0])
        is_alone = side not in self.there
        waiting = max(1, sum(size(keyed.item) for keyed in self.waiting))
        is_large = side == "train" and waiting > self.total * max(_WHOLE, 2 * self.share)
        part = self.share if is_alone else self.share * self.total / waiting
        for keyed in self.waiting:
            whole = ("train" if is_alone else _OTHER[side], keyed.item)
            halves = list(halve(keyed.item, part)) if halve and (is_alone or is_large) else []
            yield from halves if len(halves) > 1 else [whole]

    def _side(self, keyed: Keyed) -> str:
        return "validation" if keyed.unit < self.share else "train"

    def _waits_with(self, side: str) -> bool:
        return not self.waiting or self._side(self.waiting[0]) == side

    def _wait(self, side: str, keyed: Keyed) -> Iterator[tuple[str, Any]]:
        """Only the hashes nearest to the other side wait."""
        if not self.waiting or keyed.unit == self.waiting[0].unit:
            self.waiting.append(keyed)
        elif (keyed.unit < self.waiting[0].unit) == (side == "train"):
            waited, self.waiting = self.waiting, [keyed]
            yield from self._give(side, waited)
        else:
            yield from self._give(side, [keyed])

    def _give(self, side: str, some: list[Keyed]) -> Iterator[tuple[str, Any]]:
        self.there.add(side)
        yield from ((side, keyed.item) for keyed in some)
        if self.waiting and _OTHER[own := self._side(self.waiting[0])] in self.there:
            waited, self.waiting = self.waiting, []
            yield from self._give(own, waited)


def smallest(texts: Iterable[tuple[float, str]], room: int) -> list[str]:
    """The texts of the smallest hashes that fit into `room`, largest hash first, at least one.

    The result does not depend on the order: after a text that does not fit, none with a larger
    hash is taken.

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


def cut_tail(document: Document, share: float) -> Iterator[tuple[str, Document]]:
    """Cuts a document at a line's end, so that its tail, about `share` of it, is validation."""
    text = document.text
    end = int(len(text) * (1 - share))
    least = end // 2  # or else validation would have more than half
    cut = text.rfind("\n", least, end)
    cut = (cut if cut >= 0 else text.rfind(" ", least, end)) + 1
    if not text[:cut].strip() or not text[cut:].strip():
        yield "train", document
        return
    yield "train", document._replace(text=text[:cut])
    yield "validation", document._replace(text=text[cut:])
