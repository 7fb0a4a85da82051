"""Drawn scenes with captions: a small world of flat coloured shapes, every caption exactly true.

Nothing is downloaded and nothing is stored: a scene is a few numbers, a picture of it takes a tenth
of a millisecond, and because the scene is known, a picture that a model draws from the caption can
be checked exactly (`scene_check`). A few combinations of colour and shape
(`scene_language.HELD_OUT`) are never drawn for training; they test compositional generalisation:
whether a model binds colours to shapes or memorises pictures.

Shape letters: Y rows, X columns, N candidate layouts, A arrangements, T things.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from tgp_multimodal.data.records import Pair
from tgp_multimodal.data.scene_language import (
    BACKGROUNDS,
    HELD_OUT,
    RELATIONS,
    TRAINED,
    Group,
    Truth,
    say,
)
from tgp_multimodal.data.scene_shapes import coverage

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (225, 25, 35),
    "green": (25, 165, 45),
    "blue": (35, 65, 235),
    "yellow": (250, 225, 30),
    "purple": (160, 35, 195),
    "orange": (250, 130, 15),
    "cyan": (40, 210, 230),
    "black": (0, 0, 0),
    "gray": (120, 120, 120),
    "white": (255, 255, 255),
}

# Lengths are fractions of the picture; the numerators are pixels in a picture of 32.
_SIZES = {1: (12 / 32, 20 / 32), 2: (8 / 32, 12 / 32), 3: (7 / 32, 10 / 32), 4: (7 / 32, 9 / 32)}
# Posed things are large, of about one size and place: small ones differ in few pixels, and where
# edges may be anywhere, the mean of all pictures that a noisy one may have been shows no shape.
_POSED_SIZES = {
    1: (18 / 32, 24 / 32),
    2: (11 / 32, 13 / 32),
    3: (10 / 32, 12 / 32),
    4: (10 / 32, 12 / 32),
}
_MARGIN = 1 / 32
_GAP = 2.5 / 32
_SLANT = 0.45  # how far off its axis a relation may be: 24 degrees
_LAYOUTS = 128
# These set the seeds of endless scenes apart from those of `pairs`, and from each other.
_ENDLESS, _ENDLESS_HELD_OUT = 20_261_126, 20_261_130

# Where posed things stand, (right, down), all of one arrangement; within _SWAY of it.
_PLACES: dict[int, tuple[tuple[tuple[float, float], ...], ...]] = {
    1: (((1 / 2, 1 / 2),),),
    2: (
        ((1 / 4, 1 / 2), (3 / 4, 1 / 2)),
        ((3 / 4, 1 / 2), (1 / 4, 1 / 2)),
        ((1 / 2, 1 / 4), (1 / 2, 3 / 4)),
        ((1 / 2, 3 / 4), (1 / 2, 1 / 4)),
    ),
    3: (
        ((1 / 4, 1 / 4), (3 / 4, 1 / 4), (1 / 2, 3 / 4)),
        ((1 / 4, 3 / 4), (3 / 4, 3 / 4), (1 / 2, 1 / 4)),
    ),
    4: (((1 / 4, 1 / 4), (3 / 4, 1 / 4), (1 / 4, 3 / 4), (3 / 4, 3 / 4)),),
}
_SWAY = 1 / 32

_USUAL_COLOUR, _USUAL_BACKGROUND, _USUAL_RELATION = "yellow", "black", "left of"

Pose: TypeAlias = Literal["anywhere", "posed", "usual"]

_ARRANGED = 0.75
_SAME_SHAPE = 0.12
_SAID_ONE = 0.12


class Mix(NamedTuple):
    """What scenes are made of, as shares.

    Attributes:
        single: scenes with one thing.
        two: scenes with two things that differ; the rest have two to four that are alike.
        colours_named: captions that name the colours.
        background_named: captions that name the background.
        relation_named: captions of two things that say where one is, seen from the other, among
            those whose things do not lie aslant.
        posed: scenes whose things are large and stand where a photographer would put them, one in
            the middle, several apart in even places; in the rest they stand anywhere.
        usual: of posed scenes, those that are usual in all that their captions leave out: yellow
            things, black backgrounds, two things side by side in the order of the words. With few
            pictures to learn from, a network that need not guess learns to draw what is asked.
    """

    single: float = 0.45
    two: float = 0.35
    colours_named: float = 0.85
    background_named: float = 0.5
    posed: float = 0.0
    relation_named: float = 0.8
    usual: float = 0.0


MIX = Mix()


class Thing(NamedTuple):
    """One flat shape.

    Attributes:
        shape: one of `scene_language.SHAPES`.
        colour: one of `scene_language.COLOURS`.
        x: centre of its bounding box from the left, as a fraction of the picture.
        y: the same from the top.
        size: side of its bounding box, as a fraction of the picture.
    """

    shape: str
    colour: str
    x: float
    y: float
    size: float


class Scene(NamedTuple):
    """Things on a plain background."""

    things: tuple[Thing, ...]
    background: str


class Described(NamedTuple):
    """A scene with a caption, and the statement that the caption puts into words."""

    scene: Scene
    truth: Truth
    caption: str


def render(scene: Scene, size: int = 32) -> np.ndarray:
    """Draws a scene, with smooth edges, as unsigned bytes (Y, X, 3) of `size` rows and columns."""
    background = np.array(PALETTE[scene.background], np.float32)
    pixels_YXC = np.broadcast_to(background, (size, size, 3)).copy()
    for thing in scene.things:
        x, y, side = thing.x * size, thing.y * size, thing.size * size
        cover_YX = coverage(thing.shape, x, y, side, side, size)
        pixels_YXC += cover_YX[:, :, None] * (
            np.array(PALETTE[thing.colour], np.float32) - background
        )
    return np.rint(pixels_YXC).astype(np.uint8)


def is_held_out(scene: Scene) -> bool:
    """Returns whether any thing is of a colour and shape that training never shows together."""
    return any((thing.colour, thing.shape) in HELD_OUT for thing in scene.things)


def sample(rng: np.random.Generator, held_out: bool = False) -> tuple[Scene, str]:
    """Returns a scene and a true caption of it.

    Args:
        rng: draws everything.
        held_out: each scene has at least one combination that training never shows, and its caption
            names the colours; False keeps to training's combinations.
    """
    scene, _, caption = sample_described(rng, held_out)
    return scene, caption


def sample_described(rng: np.random.Generator, held_out: bool = False, mix: Mix = MIX) -> Described:
    """Returns what `sample` does, with the statement behind the caption.

    Captions sometimes leave out colours, background or relation, so that short prompts are not
    out of distribution.
    """
    kind = rng.random()
    names_colours = held_out or rng.random() < mix.colours_named
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    pose = _pose(rng, mix)
    relation = None
    if kind < mix.single:
        things = _alike(rng, 1, held_out, pose)
    elif kind < mix.single + mix.two:
        things, relation = _two(rng, held_out, pose, mix.relation_named)
        names_colours = names_colours or things[0].shape == things[1].shape
    else:
        things = _alike(rng, int(rng.integers(2, 5)), held_out, pose)
    groups = _grouped(things, names_colours)
    named = background if rng.random() < mix.background_named else None
    if pose == "usual":
        background = named or _USUAL_BACKGROUND
        if not names_colours:
            things = tuple(t._replace(colour=_USUAL_COLOUR) for t in things)
    scene = Scene(things, background)
    truth = Truth(groups, relation, named)
    caption = say(truth, rng, is_counted=len(groups) == 1 and rng.random() < _SAID_ONE)
    return Described(scene, truth, caption)


def pairs(count: int, seed: int, size: int = 32, held_out: bool = False) -> Iterator[Pair]:
    """Yields pictures of scenes with captions; number i depends on (seed, i) and on no other.

    Args:
        count: how many.
        seed: not negative.
        size: rows and columns.
        held_out: as in `sample`.

    Raises:
        ValueError: `size` is too small to tell the shapes apart, or `seed` is negative.
    """
    _check_size(size)
    if seed < 0:
        raise ValueError(f"seed must be 0 or more. Got {seed} instead.")
    for i in range(count):
        scene, caption = sample(np.random.default_rng([seed, i]), held_out)
        yield Pair(render(scene, size), caption, "scenes", f"scenes/{seed}/{i}")


class Endless:
    """Scenes without end for training; number i depends on (seed, i) and on no other.

    None of them is one of `pairs`, and none that is held out is one of training.

    Args:
        seed: not negative.
        size: rows and columns.
        mix: what the scenes are made of.
        held_out: whether they are for validation.

    Raises:
        ValueError: a share is not one, or `size` is too small to tell the shapes apart.
    """

    def __init__(self, seed: int, size: int = 32, mix: Mix = MIX, held_out: bool = False) -> None:
        _check_size(size)
        if min(mix) < 0 or max(mix) > 1 or mix.single + mix.two > 1:
            raise ValueError(
                "shares of drawn scenes must be between 0 and 1, and single + two at most 1. "
                f"Got {mix._asdict()} instead."
            )
        self.seed, self.size, self.mix, self.held_out = seed, size, mix, held_out

    def __getitem__(self, number: int) -> Pair:
        described, _ = self._draw(number)
        kind = "held_out" if self.held_out else "endless"
        name = f"scenes/{kind}/{self.seed}/{number}"
        return Pair(render(described.scene, self.size), described.caption, "scenes", name)

    def wordings(self, number: int) -> tuple[str, str]:
        """Returns the caption of a scene, and the same statement put into words once more."""
        described, rng = self._draw(number)
        return described.caption, say(described.truth, rng)

    def _draw(self, number: int) -> tuple[Described, np.random.Generator]:
        draws = _ENDLESS_HELD_OUT if self.held_out else _ENDLESS
        rng = np.random.default_rng([draws, self.seed, number])
        return sample_described(rng, mix=self.mix), rng


def relation_between(a: Thing, b: Thing) -> str | None:
    """Returns where `a` is, seen from `b`, or None where they lie aslant."""
    right, down = a.x - b.x, a.y - b.y
    if abs(down) <= _SLANT * abs(right):
        return "left of" if right < 0 else "right of"
    if abs(right) <= _SLANT * abs(down):
        return "above" if down < 0 else "below"
    return None


def _check_size(size: int) -> None:
    if size < 16:
        raise ValueError(f"size must be at least 16. Got {size} instead.")


def _pose(rng: np.random.Generator, mix: Mix) -> Pose:
    if mix.posed == 0 or rng.random() >= mix.posed:
        return "anywhere"
    return "usual" if mix.usual > 0 and rng.random() < mix.usual else "posed"


def _alike(rng: np.random.Generator, count: int, held_out: bool, pose: Pose) -> tuple[Thing, ...]:
    """Returns things of one shape, colour and size."""
    colour, shape = _combination(rng, HELD_OUT if held_out else TRAINED)
    side = rng.uniform(*(_SIZES if pose == "anywhere" else _POSED_SIZES)[count])
    sizes_T = np.full(count, side)
    return tuple(
        Thing(shape, colour, float(x), float(y), float(side))
        for x, y in _layout(rng, sizes_T, None, pose)
    )


def _two(
    rng: np.random.Generator, held_out: bool, pose: Pose, relation_named: float
) -> tuple[tuple[Thing, Thing], str | None]:
    """Returns two things and the relation that their caption names, if it names one."""
    if pose != "usual":
        things = _different(rng, held_out, pose)
        return things, relation_between(*things) if rng.random() < relation_named else None
    relation = RELATIONS[int(rng.integers(4))] if rng.random() < relation_named else None
    return _different(rng, held_out, pose, relation or _USUAL_RELATION), relation


def _different(
    rng: np.random.Generator, held_out: bool, pose: Pose, relation: str | None = None
) -> tuple[Thing, Thing]:
    """Returns two things that differ in shape, or now and then in colour alone.

    They stand as `relation` says; left out, they mostly have one of the four.
    """
    first = _combination(rng, HELD_OUT if held_out else TRAINED)
    same_shape = rng.random() < _SAME_SHAPE
    others = tuple(
        pair for pair in TRAINED if pair != first and (pair[1] == first[1]) == same_shape
    )
    both = [first, _combination(rng, others)]
    if rng.random() < 0.5:
        both.reverse()
    sizes_T = rng.uniform(*(_SIZES if pose == "anywhere" else _POSED_SIZES)[2], size=2)
    if relation is None and rng.random() < _ARRANGED:
        relation = RELATIONS[int(rng.integers(4))]
    a, b = (
        Thing(shape, colour, float(x), float(y), float(side))
        for (colour, shape), (x, y), side in zip(
            both, _layout(rng, sizes_T, relation, pose), sizes_T, strict=True
        )
    )
    return a, b


def _layout(
    rng: np.random.Generator, sizes_T: np.ndarray, relation: str | None, pose: Pose
) -> np.ndarray:
    """Returns centres (T, 2) of boxes inside the picture, apart, and in the relation if given."""
    low_T = _MARGIN + sizes_T / 2
    while True:
        if pose == "anywhere":
            at_NT2 = _anywhere(rng, low_T)
        else:
            at_NT2 = _poses(rng, low_T, pose == "usual" and relation is None)
        fits_N = np.ones(_LAYOUTS, bool)
        for i in range(len(sizes_T)):
            for j in range(i):
                apart_N = np.abs(at_NT2[:, i] - at_NT2[:, j]).max(axis=1)
                fits_N &= apart_N >= (sizes_T[i] + sizes_T[j]) / 2 + _GAP
        if relation is not None:
            fits_N &= _holds(at_NT2[:, 0] - at_NT2[:, 1], relation)
        if fits_N.any():
            return at_NT2[int(fits_N.argmax())]


def _anywhere(rng: np.random.Generator, low_T: np.ndarray) -> np.ndarray:
    """Returns centres (N, T, 2) at least `low_T` from the edges, drawn evenly."""
    free_T1 = (1 - 2 * low_T)[:, None]
    return low_T[:, None] + rng.random((_LAYOUTS, len(low_T), 2)) * free_T1


def _poses(rng: np.random.Generator, low_T: np.ndarray, is_first: bool) -> np.ndarray:
    """Returns centres (N, T, 2) at least `low_T` from the edges, near those of an arrangement."""
    places = _PLACES[len(low_T)]
    places_AT2 = np.array(places[:1] if is_first else places)
    at_NT2 = places_AT2[rng.integers(len(places_AT2), size=_LAYOUTS)]
    sway_NT2 = (2 * rng.random(at_NT2.shape) - 1) * _SWAY
    return np.clip(at_NT2 + sway_NT2, low_T[:, None], 1 - low_T[:, None])


def _holds(offset_N2: np.ndarray, relation: str) -> np.ndarray:
    """Returns where an offset (right, down) has the relation, well away from the diagonals."""
    axis = 0 if relation in ("left of", "right of") else 1
    sign = -1 if relation in ("left of", "above") else 1
    along_N = sign * offset_N2[:, axis]
    return np.abs(offset_N2[:, 1 - axis]) <= _SLANT * along_N


def _combination(
    rng: np.random.Generator, combinations: tuple[tuple[str, str], ...]
) -> tuple[str, str]:
    """Returns one (colour, shape)."""
    return combinations[int(rng.integers(len(combinations)))]


def _grouped(things: tuple[Thing, ...], names_colours: bool) -> tuple[Group, ...]:
    """Returns things as groups: several alike are one group with a number."""
    first = things[0]
    if all(thing[:2] == first[:2] for thing in things):
        return (Group(first.shape, first.colour if names_colours else None, len(things)),)
    return tuple(Group(thing.shape, thing.colour if names_colours else None) for thing in things)
