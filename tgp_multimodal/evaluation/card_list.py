"""What there is to be measured: a line for each card and each suite, without any model."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tgp_multimodal import resources
from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import check_source

EMBEDDED, MISSING = "embedded", "missing"
_EVERY_CARD = "every card that ships"


class Suite(NamedTuple):
    """One suite that ships.

    Attributes:
        name: as `tgp evaluate --suite` calls it.
        cards: names.
        description: one or two sentences.
    """

    name: str
    cards: tuple[str, ...]
    description: str


class Line(NamedTuple):
    """One card.

    Attributes:
        card: it.
        data: where they are: `EMBEDDED`, `MISSING`, found in a folder or in files, or on the hub,
            where nobody looked.
        suites: names of those that contain it, but for that of every card.
    """

    card: Card
    data: str
    suites: tuple[str, ...]


def lines(wanted: Iterable[Card]) -> list[Line]:
    """A line for each card, in the order of the cards."""
    known = [suite for suite in suites() if suite.description != _EVERY_CARD]
    return [
        Line(card, whereabouts(card), tuple(s.name for s in known if card.name in s.cards))
        for card in wanted
    ]


def suites() -> list[Suite]:
    """The suites that ship, that of every card among them."""
    return [_suite(name) for name in cards.suites()]


def whereabouts(card: Card) -> str:
    """Where the data of a card are; nothing of them is read, and the hub is not asked."""
    try:
        check_source(card)
    except ValueError:
        return MISSING
    if "embedded" in card.source:
        return EMBEDDED
    if "folder" in card.source:
        name = card.source.get("splits", {}).get("test", "test")
        items = Path(os.environ["TGP_DATA"], card.source["folder"], f"{name}.parquet")
        return "found in $TGP_DATA" if items.is_file() else MISSING
    if "hub" in card.source:
        return f"on the hub, {card.source['hub']}"
    return "found"


def _suite(name: str) -> Suite:
    try:
        path = resources.shipped("benchmarks", "suites", f"{name}.yaml")
    except FileNotFoundError:
        return Suite(name, tuple(cards.names()), _EVERY_CARD)
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Suite(name, tuple(found["cards"]), str(found["description"]))
