"""What can be said about a drawn scene: the words, the statements, the grammar and the prompts.

A `Truth` is a statement that a machine can check; `say` puts it into words. Captions and prompts
both go through it, so that a prompt is always worded as captions are, and what a caption names is
known exactly. The six axes are those of GenEval (Ghosh et al. 2023, arXiv:2310.11513), asked of
coloured shapes.
"""

from itertools import product
from typing import NamedTuple

import numpy as np

SHAPES = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan")
BACKGROUNDS = ("black", "gray", "white")
RELATIONS = ("left of", "right of", "above", "below")
MOST = 4

AXES = (
    "single_object",
    "two_objects",
    "counting",
    "colours",
    "position",
    "attribute_binding",
)
HELD_OUT_AXES = ("counting", "colours", "attribute_binding")

HELD_OUT = (("purple", "circle"), ("orange", "square"), ("green", "triangle"))
TRAINED = tuple(pair for pair in product(COLOURS, SHAPES) if pair not in HELD_OUT)

_NUMBERS = ("no", "one", "two", "three", "four")
_FRAMES = (*["{}"] * 5, "a picture of {}", "an image of {}", "a drawing of {}", "there {be} {}")
_BACKGROUNDS = (
    *["{} on a {background} background"] * 4,
    "{} in front of a {background} background",
)
_TOGETHER = (*["{a} and {b}"] * 4, "{a} with {b}")
_ARRANGED = {
    "left of": (
        *["{a} left of {b}"] * 3,
        "{a} to the left of {b}",
        "{a} on the left and {b} on the right",
    ),
    "right of": (
        *["{a} right of {b}"] * 3,
        "{a} to the right of {b}",
        "{a} on the right and {b} on the left",
    ),
    "above": (*["{a} above {b}"] * 3, "{a} over {b}", "{a} at the top and {b} at the bottom"),
    "below": (*["{a} below {b}"] * 3, "{a} under {b}", "{a} at the bottom and {b} at the top"),
}


class Group(NamedTuple):
    """A number of things of one shape, and of one colour if the colour is named."""

    shape: str
    colour: str | None = None
    number: int = 1


class Truth(NamedTuple):
    """A statement about a whole picture: exactly these things, and nothing else.

    Attributes:
        groups: what is there, one or two groups.
        relation: where the first group's thing is, seen from the second's; None says nothing.
        background: its colour; None says nothing.
    """

    groups: tuple[Group, ...]
    relation: str | None = None
    background: str | None = None


class Prompt(NamedTuple):
    """A text to draw from, and what must be true of the drawing.

    Attributes:
        text: the words.
        axis: one of `AXES`.
        truth: what a correct picture shows.
        held_out: True where it names a combination of colour and shape never seen in training.
    """

    text: str
    axis: str
    truth: Truth
    held_out: bool


def say(truth: Truth, rng: np.random.Generator, *, is_counted: bool = False) -> str:
    """Puts a statement into words, one of several ways.

    Args:
        truth: the statement.
        rng: chooses the wording.
        is_counted: says "one circle" for "a circle".
    """
    phrases = [_phrase(group, is_counted) for group in truth.groups]
    if len(phrases) == 1:
        text = phrases[0]
    else:
        ways = _TOGETHER if truth.relation is None else _ARRANGED[truth.relation]
        text = _one(rng, ways).format(a=phrases[0], b=phrases[1])
    if truth.background is not None:
        text = _one(rng, _BACKGROUNDS).format(text, background=truth.background)
    return _one(rng, _FRAMES).format(text, be="is" if truth.groups[0].number == 1 else "are")


def prompts(axis: str, count: int, seed: int, held_out: bool = False) -> list[Prompt]:
    """Returns prompts of one axis, different from each other while the axis has different ones.

    Args:
        axis: one of `AXES`.
        count: how many.
        seed: chooses and words them.
        held_out: asks for combinations of colour and shape that training never shows; each prompt
            names at least one.

    Raises:
        ValueError: no such axis, or one that names no colour and so has no held-out combinations.
    """
    if axis not in AXES:
        raise ValueError(f"axis must be one of {', '.join(AXES)}. Got {axis!r} instead.")
    if held_out and axis not in HELD_OUT_AXES:
        raise ValueError(
            f"axis must be one of {', '.join(HELD_OUT_AXES)} with held_out. Got {axis!r} instead."
        )
    rng = np.random.default_rng([seed, AXES.index(axis), int(held_out)])
    truths = _truths(axis, held_out)
    chosen: list[Prompt] = []
    seen: set[str] = set()
    patience = 20 * len(truths)
    while len(chosen) < count:
        for i in rng.permutation(len(truths)):
            text = say(truths[i], rng, is_counted=axis == "counting")
            if text in seen and patience > 0:
                patience -= 1
                continue
            seen.add(text)
            chosen.append(Prompt(text, axis, truths[i], held_out))
    return chosen[:count]


def _truths(axis: str, held_out: bool) -> list[Truth]:
    """Returns every statement of an axis."""
    pairs = HELD_OUT if held_out else TRAINED
    shape_pairs = [(a, b) for a, b in product(SHAPES, SHAPES) if a != b]
    if axis == "single_object":
        return [Truth((Group(shape),)) for shape in SHAPES]
    if axis == "two_objects":
        return [Truth((Group(a), Group(b))) for a, b in shape_pairs]
    if axis == "counting":
        counts = range(1, MOST + 1)
        return [Truth((Group(shape, colour, n),)) for (colour, shape), n in product(pairs, counts)]
    if axis == "colours":
        grounds = (*[None] * len(BACKGROUNDS), *BACKGROUNDS)  # half of them name the background
        return [
            Truth((Group(shape, colour),), background=background)
            for (colour, shape), background in product(pairs, grounds)
        ]
    if axis == "position":
        return [
            Truth((Group(a), Group(b)), relation)
            for (a, b), relation in product(shape_pairs, RELATIONS)
        ]
    return [
        Truth((Group(a.shape, a.colour), Group(b.shape, b.colour)), relation)
        for a, b in _bindings(held_out)
        for relation in (*[None] * len(RELATIONS), *RELATIONS)  # half of them name the relation
    ]


def _bindings(held_out: bool) -> list[tuple[Group, Group]]:
    """Returns pairs of things that differ in shape and in colour, so that a swap is visible."""
    groups = [Group(shape, colour) for colour, shape in product(COLOURS, SHAPES)]
    return [
        (a, b)
        for a, b in product(groups, groups)
        if a.shape != b.shape
        and a.colour != b.colour
        and held_out == any((group.colour, group.shape) in HELD_OUT for group in (a, b))
    ]


def _phrase(group: Group, is_counted: bool) -> str:
    """Returns "a red circle", "one red circle" or "three red circles"."""
    noun = group.shape if group.colour is None else f"{group.colour} {group.shape}"
    if group.number > 1:
        return f"{_NUMBERS[group.number]} {noun}s"
    if is_counted:
        return f"one {noun}"
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _one(rng: np.random.Generator, ways: tuple[str, ...]) -> str:
    """Returns one of several wordings; those listed more often come more often."""
    return ways[int(rng.integers(len(ways)))]
