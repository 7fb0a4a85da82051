"""Few-shot examples before the question: a function of the seed and the item alone.

They do not depend on the process, the batch, or the order and number of items, so that a score does
not change with the number of machines; and they are never the item itself, one that reads the same,
or one of its group.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from tgp_multimodal.evaluation.card_protocols import SAMPLING
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.names import unknown


class Member(NamedTuple):
    """One of a pool, with what tells it from an item."""

    example: Example
    digest: str
    normalized_prompt: str


class Pool:
    """Where solved examples are from: each is digested once, however many items draw.

    Attributes:
        members: in the order of storage.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._drawn: dict[str, list[Member]] = {}

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "Pool":
        """The pool of these examples."""
        return cls([Member(e, e.digest, normalized_prompt(e)) for e in examples])

    def drawn(self, salt: str) -> list[Member]:
        """All members in the order of a draw, which is made once."""
        if salt not in self._drawn:
            self._drawn[salt] = _ordered(self.members, salt)
        return self._drawn[salt]


def contexts(examples: Examples, asked: Sequence[Example]) -> list[str]:
    """Preamble, shots and prompt of each item, joined as lm-eval joins them."""
    has_shots = int(examples.card.setting("shots")) and asked
    pool = Pool.of((examples.train or examples.validation) if has_shots else [])
    return [_context(examples, example, pool) for example in asked]


def _context(examples: Examples, example: Example, pool: Pool) -> str:
    card = examples.card
    count = int(card.setting("shots"))
    delimiter, separator = str(card.setting("delimiter")), str(card.setting("separator"))
    text = str(example.fields.get("preamble", card.setting("preamble")))
    if count:
        for shot in shots(
            same_topic(example, pool),
            example,
            count,
            seed=int(card.setting("seed")),
            sampling=str(card.setting("sampling")),
            balanced=card.protocol == "multiple_choice" and bool(card.setting("balanced")),
        ):
            text += solved_example(shot, delimiter) + separator
    return text + str(example.fields["prompt"])


def solved_example(shot: Example, delimiter: str) -> str:
    """A question with its answer, the first of several references.

    The answer stands inside where the card has a continuation.
    """
    if "references" in shot.fields:
        return f"{shot.fields['prompt']}{delimiter}{shot.fields['references'][0]}"
    answer = str(shot.fields["choices"][int(shot.fields["answer"])])
    if "continuation" in shot.fields:
        return f"{shot.fields['prompt']}{answer}{delimiter}{shot.fields['continuation']}"
    return f"{shot.fields['prompt']}{delimiter}{answer}"


def same_topic(example: Example, pool: Pool) -> Pool:
    """The part of the pool on the item's topic; all of it where the card names no topic."""
    if "topic" not in example.fields:
        return pool
    topic = example.fields["topic"]
    return Pool([m for m in pool.members if m.example.fields["topic"] == topic])


def shots(
    pool: Pool,
    example: Example,
    count: int,
    seed: int,
    sampling: str = "per_item",
    balanced: bool = False,
) -> list[Example]:
    """Draws `count` solved examples for one item.

    Args:
        pool: where they are from; its order matters to "first" alone.
        example: the item.
        count: how many.
        seed: of the draw.
        sampling: "per_item": every item has its own; "fixed": all items share them (except where an
            item would see its duplicate or one of its group), so that a model computes them once;
            "first": likewise, but the first ones of the pool, in its order, as lm-eval's `first_n`.
        balanced: the draw alternates between answers, as far as the pool has them.

    Raises:
        ValueError: the pool is too small, or the first ones of it are to be balanced.
    """
    if sampling not in SAMPLING:
        raise ValueError(unknown("sampling", sampling, SAMPLING))
    if balanced and sampling == "first":
        raise ValueError("sampling must be fixed or per_item where balanced. Got first instead.")
    digest, mine = example.digest, normalized_prompt(example)
    salt = f"{seed}" if sampling == "fixed" else f"{seed}|{digest}"
    # What is the same for all items is drawn for all; who must not be met is left out afterwards.
    members = pool.drawn(salt) if sampling == "fixed" else pool.members
    others = [
        m
        for m in members
        if m.digest != digest and m.normalized_prompt != mine and m.example.group != example.group
    ]
    if len(others) < count:
        raise ValueError(
            f"shots must be at most {len(others)}, the size of the pool. Got {count} instead."
        )
    if sampling == "first":
        return [m.example for m in others[:count]]
    order = others if sampling == "fixed" else _ordered(others, salt)
    if balanced:
        order = _alternate_answers(order)
    # Shuffled once more, so that balancing does not put the answers into a fixed rhythm.
    return [m.example for m in _ordered(order[:count], f"order|{salt}")]


def _ordered(members: Sequence[Member], salt: str) -> list[Member]:
    # The digest orders the pool by content, so that its order of storage has no say.
    return sorted(members, key=lambda m: _hash(f"{salt}|{m.digest}"))


def _alternate_answers(order: Sequence[Member]) -> list[Member]:
    seen: dict[int, int] = {}
    turn = {}
    for m in order:
        answer = int(m.example.fields["answer"])
        turn[m.digest] = seen.setdefault(answer, 0)
        seen[answer] += 1
    return sorted(order, key=lambda m: turn[m.digest])  # stable: keeps the drawn order


def normalized_prompt(example: Example) -> str:
    """How an item reads to the eye: its prompt in lower case without white space."""
    return "".join(str(example.fields["prompt"]).lower().split())


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
