"""Entities in rows of tags, and how many of them were found.

Tags are "O", or "B-" (first word of an entity) or "I-" (a later one) and a type.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Entity(NamedTuple):
    """Words `start` to `end` - 1 of a sentence."""

    kind: str
    start: int
    end: int


class EntityCounts(NamedTuple):
    """Entities of one or more sentences: how many there are, were predicted, and both alike."""

    true: int
    predicted: int
    right: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where there is no entity on either side."""
        return 2 * self.right / max(1, self.true + self.predicted)


def entities(tags: Sequence[str], is_strict: bool) -> set[Entity]:
    """The entities that the tags of one sentence mark.

    There are two readings of an I- that continues nothing (first, after O, after another type).
    Lenient: it opens an entity, as in the CoNLL script and seqeval's default. Strict: it belongs to
    none, as in seqeval's `mode="strict", scheme=IOB2`. A number must say which reading it uses.
    """
    found: set[Entity] = set()
    kind, start = "", 0  # of the entity that is open; "" is none
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, own = tag.partition("-")
        if prefix == "I" and kind and own == kind:
            continue
        if kind:
            found.add(Entity(kind, start, place))
        opens = prefix == "B" or (prefix == "I" and not is_strict)
        kind, start = (own if opens else ""), place
    return found


def are_known(tags: Iterable[str]) -> bool:
    """Whether all are "O", "B-..." or "I-...": parts of speech and BIOES say no entities to us."""
    return all(tag == "O" or tag.startswith(("B-", "I-")) for tag in tags)


def count_entities(
    predicted: Sequence[str], true: Sequence[str], is_strict: bool, kind: str = ""
) -> EntityCounts:
    """Counts of one sentence: right is an entity of the same type, start and end.

    Args:
        predicted: a tag for each word.
        true: likewise.
        is_strict: how predictions and truth are read, see `entities`.
        kind: count this type only; "" counts all.
    """
    ours, theirs = (
        {e for e in entities(tags, is_strict) if kind in ("", e.kind)} for tags in (predicted, true)
    )
    return EntityCounts(len(theirs), len(ours), len(ours & theirs))


def total(found: Sequence[EntityCounts]) -> EntityCounts:
    """Counts of all sentences together: their F1 is the micro average."""
    true, predicted, right = (sum(column) for column in zip(*found, strict=True))
    return EntityCounts(true, predicted, right)
