"""What every protocol takes and gives: one signature for the whole family."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.requests import Answer, Request
from tgp_multimodal.evaluation.stats import Interval

# Sends requests of one class to the model, duplicates once, answers in order.
Ask: TypeAlias = Callable[[Sequence[Request]], list[Answer]]


class Outcome(NamedTuple):
    """What a protocol found.

    Attributes:
        value: the card's metric.
        interval: 95 %, around it.
        records: one per test item that counts, or per group where the metric is of groups: id,
            correct or score, and mostly prediction and target.
        details: further metrics and what was chosen on the way.
        executed: where programs were run: how many, behind which layers of the sandbox, and whether
            without it. Stored in the result's environment, since no number depends on it.
        chance: what guessing scores on these very items; None where the card's value holds.
    """

    value: float
    interval: Interval
    records: list[dict[str, Any]]
    details: dict[str, Any]
    executed: dict[str, Any] | None = None
    chance: float | None = None


Protocol: TypeAlias = Callable[[Examples, Adapter, Ask], Outcome]


def training_split(examples: Examples) -> list[Example]:
    """The training split.

    Raises:
        ValueError: it is empty.
    """
    if not examples.train:
        raise ValueError(f"{examples.card.name}: train split must hold an item. Got none instead.")
    return examples.train


def lazy_field(examples: Examples, split: str, field: str) -> Iterator[Any]:
    """One field of a split's examples; the split is not read before the first is taken."""
    for example in getattr(examples, split):
        yield example.fields[field]


def groups(examples: Sequence[Example]) -> list[str]:
    """Group of each example, for clustered intervals."""
    return [e.group for e in examples]
