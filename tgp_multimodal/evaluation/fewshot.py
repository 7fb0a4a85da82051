"""Solved examples before the question: a function of the seed and the item, of nothing else.

Not of the process, the batch, the order or the number of items, so that a number does not change
with the number of machines; and never the item itself or one that reads the same.
"""

import hashlib
from collections.abc import Sequence

from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.names import unknown

SAMPLING = ("first", "fixed", "per_item")


def context(examples: Examples, example: Example) -> str:
    """Preamble, shots and prompt, joined as lm-eval joins them."""
    card = examples.card
    count = int(card.setting("shots"))
    delimiter, separator = str(card.setting("delimiter")), str(card.setting("separator"))
    text = str(example.fields.get("preamble", card.setting("preamble")))
    if count:
        pool = about(example, examples.train or examples.validation)
        for shot in shots(
            pool,
            example,
            count,
            seed=int(card.setting("seed")),
            sampling=str(card.setting("sampling")),
            balanced=card.protocol == "multiple_choice" and bool(card.setting("balanced")),
        ):
            text += solved(shot, delimiter) + separator
    return text + str(example.fields["prompt"])


def solved(shot: Example, delimiter: str) -> str:
    """A question with its answer, the first of several references.

    The answer stands inside where the card has a continuation.
    """
    if "references" in shot.fields:
        return f"{shot.fields['prompt']}{delimiter}{shot.fields['references'][0]}"
    answer = str(shot.fields["choices"][int(shot.fields["answer"])])
    if "continuation" in shot.fields:
        return f"{shot.fields['prompt']}{answer}{delimiter}{shot.fields['continuation']}"
    return f"{shot.fields['prompt']}{delimiter}{answer}"


def about(example: Example, pool: Sequence[Example]) -> Sequence[Example]:
    """The part of the pool on the item's topic; all of it where the card names no topic."""
    if "topic" not in example.fields:
        return pool
    return [e for e in pool if e.fields["topic"] == example.fields["topic"]]


def shots(
    pool: Sequence[Example],
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
        sampling: "per_item": every item has its own; "fixed": all items have the same (but for
            those that would meet their double), so that a model computes them once; "first": the
            same, but those that come first in the pool, in its order, as lm-eval's `first_n`.
        balanced: answers take turns, as far as the pool has them.

    Raises:
        ValueError: the pool is too small.
    """
    if sampling not in SAMPLING:
        raise ValueError(unknown("sampling", sampling, SAMPLING))
    salt = f"{seed}" if sampling == "fixed" else f"{seed}|{example.digest}"
    mine = reading(example)
    others = [e for e in pool if e.digest != example.digest and reading(e) != mine]
    if len(others) < count:
        raise ValueError(
            f"shots must be at most {len(others)}, the size of the pool. Got {count} instead."
        )
    if sampling == "first":
        return others[:count]
    # The digest orders the pool by content, so that its order of storage has no say.
    order = sorted(others, key=lambda e: _hash(f"{salt}|{e.digest}"))
    if balanced:
        seen: dict[int, int] = {}
        turn = {}
        for e in order:
            answer = int(e.fields["answer"])
            turn[e.digest] = seen.setdefault(answer, 0)
            seen[answer] += 1
        order = sorted(order, key=lambda e: turn[e.digest])  # stable: keeps the drawn order
    # Shuffled once more, so that balancing does not put the answers into a fixed rhythm.
    return sorted(order[:count], key=lambda e: _hash(f"order|{salt}|{e.digest}"))


def reading(example: Example) -> str:
    """How an item reads to the eye: its prompt in lower case without white space."""
    return "".join(str(example.fields["prompt"]).lower().split())


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
