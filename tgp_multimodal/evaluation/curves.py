"""Cards of learning curves, made on the spot of cards that are linear probes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Examples

METRIC = "curve_accuracy"


def cards(among: Sequence[Card], counts: Sequence[int], seeds: int) -> list[Card]:
    """The curve of each probe card, `<name>_curve`; other cards have none.

    Items and splits are the card's own. The curve is of accuracy whatever the card's metric, and
    its chance is that of accuracy.

    Args:
        among: cards.
        counts: labels per class, ascending.
        seeds: how many draws of labels.

    Raises:
        ValueError: none of the cards is a probe, or a count or `seeds` is not as it must be.
    """
    check_counts(counts, seeds)
    found = [_card(card, counts, seeds) for card in among if card.protocol == "probe"]
    if not found:
        names = ", ".join(card.name for card in among)
        raise ValueError(f"few_labels must have a card of protocol probe. Got {names} instead.")
    return found


def check_counts(counts: Any, seeds: Any) -> list[int]:
    """The counts, if they are whole numbers from 1 on, ascending, and there is a seed.

    Raises:
        ValueError: they are not.
    """
    is_list = isinstance(counts, list | tuple) and bool(counts)
    if not is_list or not all(type(c) is int and c >= 1 for c in counts):
        raise ValueError(f"few_labels must be whole numbers from 1 on. Got {counts} instead.")
    if sorted(set(counts)) != list(counts):
        raise ValueError(f"few_labels must be ascending. Got {counts} instead.")
    if type(seeds) is not int or seeds < 1:
        raise ValueError(f"seeds must be at least 1. Got {seeds} instead.")
    return list(counts)


def _card(card: Card, counts: Sequence[int], seeds: int) -> Card:
    settings = {"counts": list(counts), "seeds": seeds, "modality": card.modality}
    said = ", ".join(map(str, counts))
    return replace(
        card,
        name=f"{card.name}_curve",
        description=f"Learning curve of {card.name}: mean over {said} labels per class and all of"
        f" the accuracy of a linear probe, each the mean over {seeds} draws. C is 1, the"
        f" validation split is not used. {card.description}",
        protocol="few_labels",
        metric=METRIC,
        chance=card.chance if card.metric == "accuracy" else _chance(card),
        settings=settings,
        references=(),
    )


def _chance(card: Card) -> float:
    return 1 / len({e.fields["label"] for e in Examples(card).train} or {""})
