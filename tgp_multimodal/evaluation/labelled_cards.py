"""Cards whose items have labels, as tasks to adapt a model to."""

from collections.abc import Callable, Sequence
from typing import Any

from tgp_multimodal.data.labelled import Item, Kind, Splits, draw, reads
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.protocols.probe import item_of

_VALIDATION_SHARE = 0.2  # of train, where a card has no validation split; as in `probe`


def task_of(card: Card, seed: int = 0, limit: int | None = None) -> Splits:
    """The splits of a card; a fifth of train is held back where it has no validation split.

    Args:
        card: of one of the protocols probe, multi_label, similarity and tagging.
        seed: of that fifth.
        limit: at most so many test items, and eight times as many to learn from.

    Raises:
        ValueError: the card is of another protocol, or has nothing to learn from.
    """
    if card.protocol not in _READERS:
        known = ", ".join(_READERS)
        raise ValueError(
            f"card must be of a protocol with labels ({known}). Got {card.name}, which is of"
            f" {card.protocol}, instead."
        )
    kind, read = _READERS[card.protocol]
    examples = Examples(card, limit)
    if not examples.train:
        raise ValueError(f"{card.name}: train split must hold an item. Got none instead.")
    train = _items(examples.train, read)
    validation = _items(examples.validation, read)
    if not validation:
        train, validation = draw(train, kind, _VALIDATION_SHARE, seed)
    test = _items(examples.test, read)
    positive = str(card.setting("positive")) if card.protocol == "probe" else ""
    return Splits(
        kind, reads(train, kind), train, validation, test, card.name, card.metric, positive
    )


def _items(examples: Sequence[Example], read: Callable[[Example], tuple[Any, Any]]) -> list[Item]:
    return [Item(*read(e), e.id, e.group) for e in examples]


def _named(example: Example) -> tuple[Any, str]:
    return item_of(example), str(example.fields["label"])


def _several(example: Example) -> tuple[Any, tuple[str, ...]]:
    return example.fields["item"], tuple(map(str, example.fields["labels"]))


def _pair(example: Example) -> tuple[Any, float]:
    fields = example.fields
    return (str(fields["first"]), str(fields["second"])), float(fields["score"])


def _words(example: Example) -> tuple[Any, tuple[str, ...]]:
    return tuple(example.fields["tokens"]), tuple(example.fields["tags"])


_READERS: dict[str, tuple[Kind, Callable[[Example], tuple[Any, Any]]]] = {
    "probe": ("classification", _named),
    "multi_label": ("multi_label", _several),
    "similarity": ("regression", _pair),
    "tagging": ("tagging", _words),
}
