"""Whether a picture shows what was asked: the exact checker of drawn scenes.

It stands where GenEval has a detector (Ghosh et al. 2023, arXiv:2310.11513), and needs none,
because the world is known: a plain background and flat shapes. It reads a picture back into things
and then compares them with the statement, strictly: exactly the named things and nothing else. It
forgives what a small diffusion model does to a right picture: soft edges, slightly wrong colours,
specks, other sizes and places.

How a picture is read. (1) The background is what most of the border shows. (2) Every pixel lies
near one of the lines from the background's colour to the colours of things; how far along is its
*coverage*, so that a soft edge counts as part of its own thing and not as a third colour.
(3) Connected pixels covered by half or more are one thing. (4) Its colour is what most of its inner
pixels show. (5) Its shape is the one whose ideal drawing, with the same area, centre and
proportions, overlaps best; area and centre survive blur, a bounding box does not.

Shape letters: Y rows, X columns, C channels, K colours, P border pixels.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from tgp_multimodal.data.scene_language import BACKGROUNDS, COLOURS, SHAPES, Group, Truth
from tgp_multimodal.data.scene_shapes import coverage
from tgp_multimodal.data.scenes import PALETTE, Thing

UNKNOWN = "unknown"

_PLAIN = 70.0  # how far, in levels, a background may be from its ideal colour
_BORDER = 0.6  # share of the border that must show it
_SPECK = 10 / 32**2  # smaller regions are dust
_HALF = 0.5
_MIXED = 0.25  # a region whose second colour has a larger share than this is two things
_OVERLAP = 0.75  # the least intersection over union with an ideal shape
_SOFTNESS = (0.0, 0.6, 1.0)  # blurs, in pixels, that an ideal shape may have
_APART = 0.1  # the least offset along a relation's axis, as a fraction of the picture
_COSINE = 0.5  # GenEval: within 60 degrees of the axis
_AXIS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
_PROPORTION = 1.43  # the most that width over height may be, or height over width
_FILL = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5}  # share of the bounding box
_SPREAD = {"circle": 1.0, "square": 1.0, "triangle": 18 / 24}  # variance of x over that of y
_COLOURS_K3 = np.array([PALETTE[colour] for colour in COLOURS], np.float32)


class Verdict(NamedTuple):
    """What was decided about a picture, and why.

    Attributes:
        correct: True where the picture shows exactly what was asked.
        reason: one short sentence.
        found: the things seen; shape or colour is "unknown" where neither fits.
    """

    correct: bool
    reason: str
    found: list[Thing]


class Reading(NamedTuple):
    """What a picture shows: its background, "unknown" where it is not plain, and its things."""

    background: str
    things: list[Thing]


def check(pixels_YXC: np.ndarray, truth: Truth) -> Verdict:
    """Decides whether a picture shows exactly what a statement says.

    Args:
        pixels_YXC: unsigned bytes, square, RGB, 16 rows or more.
        truth: the statement, for example `Prompt.truth`.

    Raises:
        ValueError: the picture has another form.
    """
    background, things = read(pixels_YXC)
    if background == UNKNOWN:
        return Verdict(False, "the background is not plain", things)
    if truth.background not in (None, background):
        reason = f"the background is {background}, not {truth.background}"
        return Verdict(False, reason, things)
    wanted = [group for group in truth.groups for _ in range(group.number)]
    if len(things) != len(wanted):
        return Verdict(False, f"there are {len(things)} things, not {len(wanted)}", things)
    matches = [order for order in permutations(things) if all(map(_is, order, wanted))]
    if not matches:
        seen = ", ".join(f"{thing.colour} {thing.shape}" for thing in things)
        return Verdict(False, f"there are: {seen}", things)
    relation = truth.relation
    if relation is not None and not any(stands(order[0], order[1], relation) for order in matches):
        return Verdict(False, f"the first thing is not {relation} the second", things)
    return Verdict(True, "as asked", things)


def read(pixels_YXC: np.ndarray) -> Reading:
    """Reads a picture back into its background and its things, from left to right.

    Raises:
        ValueError: the picture is not (Y, Y, 3) unsigned bytes with 16 rows or more.
    """
    form = pixels_YXC.shape
    if pixels_YXC.dtype != np.uint8 or len(form) != 3 or form[0] != form[1] or form[2] != 3:
        raise ValueError(
            f"pixels must be unsigned bytes (Y, Y, 3). Got {pixels_YXC.dtype} {form} instead."
        )
    if form[0] < 16:
        raise ValueError(f"pixels must be 16 rows or more. Got {form[0]} instead.")
    values_YXC = _reduced(pixels_YXC)
    size = len(values_YXC)
    name, base_C = _background(values_YXC)
    if name == UNKNOWN:
        return Reading(UNKNOWN, [])
    along_KYX, nearest_YX = _coverages(values_YXC, base_C)
    covered_YX = np.take_along_axis(along_KYX, nearest_YX[None], axis=0)[0]
    is_thing_YX = covered_YX >= _HALF
    things = []
    for region_YX in _regions(is_thing_YX, nearest_YX, _SPECK * size**2):
        k = _majority(region_YX, nearest_YX)
        around_YX = ndimage.binary_dilation(region_YX, iterations=max(1, size // 32))
        others_YX = is_thing_YX & ~region_YX
        cover_YX = np.where(around_YX & ~others_YX, np.clip(along_KYX[k], 0, 1), 0)
        things.append(_thing(cover_YX, _colour(values_YXC, region_YX, k)))
    return Reading(name, sorted(things, key=lambda thing: thing.x))


def stands(a: Thing, b: Thing, relation: str) -> bool:
    """Returns whether `a` has the relation to `b`, by GenEval's rule of 60 degrees."""
    right, down = a.x - b.x, a.y - b.y
    along = _AXIS[relation][0] * right + _AXIS[relation][1] * down
    return bool(along >= _APART and along > _COSINE * np.hypot(right, down))


def _is(thing: Thing, wanted: Group) -> bool:
    """Returns whether a thing is what one place of the statement asks for."""
    return thing.shape == wanted.shape and wanted.colour in (None, thing.colour)


def _reduced(pixels_YXC: np.ndarray) -> np.ndarray:
    """Returns a large picture averaged down to about 32 rows, so that all are read alike."""
    size = len(pixels_YXC)
    block = max(b for b in range(1, max(1, size // 32) + 1) if size % b == 0)
    blocks = pixels_YXC.reshape(size // block, block, size // block, block, 3)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def _background(values_YXC: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns the background's name and its actual colour, from what most of the border shows."""
    border_PC = np.concatenate(
        [values_YXC[0], values_YXC[-1], values_YXC[1:-1, 0], values_YXC[1:-1, -1]]
    )
    best, name = 0.0, UNKNOWN
    for background in BACKGROUNDS:
        near_P = np.linalg.norm(border_PC - np.array(PALETTE[background]), axis=1) < _PLAIN
        if near_P.mean() >= max(best, _BORDER):
            best, name, base_C = near_P.mean(), background, np.median(border_PC[near_P], axis=0)
    return (name, base_C) if name != UNKNOWN else (UNKNOWN, np.zeros(3, np.float32))


def _coverages(values_YXC: np.ndarray, base_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns how far each pixel is from the background to each colour, and which line is nearest.

    The first is (K, Y, X), 0 at the background and 1 at the colour; the second is (Y, X).
    """
    line_K3 = _COLOURS_K3 - base_C
    from_base_YXC = values_YXC - base_C
    along_KYX = np.einsum("yxc,kc->kyx", from_base_YXC, line_K3)
    along_KYX /= (line_K3**2).sum(axis=1)[:, None, None]
    on_line_KYXC = np.clip(along_KYX, 0, 1)[..., None] * line_K3[:, None, None]
    off_KYX = ((from_base_YXC - on_line_KYXC) ** 2).sum(axis=-1)
    return along_KYX, off_KYX.argmin(axis=0)


def _regions(is_thing_YX: np.ndarray, nearest_YX: np.ndarray, speck: float) -> list[np.ndarray]:
    """Returns the connected regions above a speck's area, cut where two colours touch."""
    regions = []
    for region_YX in _connected(is_thing_YX, speck):
        shares_K = np.bincount(nearest_YX[_inner(region_YX)], minlength=len(COLOURS))
        if np.sort(shares_K)[-2] <= _MIXED * shares_K.sum():
            regions.append(region_YX)
            continue
        for k in range(len(COLOURS)):
            regions += _connected(region_YX & (nearest_YX == k), speck)
    return regions


def _connected(mask_YX: np.ndarray, speck: float) -> list[np.ndarray]:
    """Returns the 4-connected regions of a mask that are no specks."""
    label_YX, count = ndimage.label(mask_YX)
    areas = np.bincount(label_YX.ravel(), minlength=count + 1)
    return [label_YX == i for i in range(1, count + 1) if areas[i] >= speck]


def _inner(region_YX: np.ndarray) -> np.ndarray:
    """Returns a region without its edge pixels, or all of it where nothing would be left."""
    inner_YX = ndimage.binary_erosion(region_YX)
    return inner_YX if inner_YX.any() else region_YX


def _majority(region_YX: np.ndarray, nearest_YX: np.ndarray) -> int:
    """Returns the index of the colour that most inner pixels show."""
    return int(np.bincount(nearest_YX[_inner(region_YX)], minlength=len(COLOURS)).argmax())


def _colour(values_YXC: np.ndarray, region_YX: np.ndarray, k: int) -> str:
    """Returns the name of colour `k`, "unknown" where the inner pixels are nearer another."""
    median_C = np.median(values_YXC[_inner(region_YX)], axis=0)
    names = list(PALETTE)
    distances = [np.linalg.norm(median_C - np.array(PALETTE[name])) for name in names]
    return COLOURS[k] if names[int(np.argmin(distances))] == COLOURS[k] else UNKNOWN


def _thing(cover_YX: np.ndarray, colour: str) -> Thing:
    """Returns the thing whose ideal drawing overlaps best, "unknown" if none does well."""
    size = len(cover_YX)
    at = np.arange(size) + 0.5
    area = cover_YX.sum()
    x, y = (cover_YX.sum(axis=0) @ at) / area, (cover_YX.sum(axis=1) @ at) / area
    variance_x = cover_YX.sum(axis=0) @ (at - x) ** 2 / area
    variance_y = cover_YX.sum(axis=1) @ (at - y) ** 2 / area
    best, found = _OVERLAP, Thing(UNKNOWN, colour, x / size, y / size, float(np.sqrt(area)) / size)
    for shape in SHAPES:
        ratio = np.sqrt(variance_x / max(variance_y, 1e-12) / _SPREAD[shape])
        if not 1 / _PROPORTION <= ratio <= _PROPORTION:
            continue
        side = np.sqrt(area / _FILL[shape])
        width, height = side * np.sqrt(ratio), side / np.sqrt(ratio)
        middle = y - height / 6 if shape == "triangle" else y
        ideal_YX = coverage(shape, x, middle, width, height, size)
        overlap = max(_overlap(cover_YX, ideal_YX, softness) for softness in _SOFTNESS)
        if overlap > best:
            best, found = overlap, Thing(shape, colour, x / size, middle / size, side / size)
    return found._replace(x=float(found.x), y=float(found.y), size=float(found.size))


def _overlap(cover_YX: np.ndarray, ideal_YX: np.ndarray, softness: float) -> float:
    """Returns intersection over union with an ideal drawing that is blurred by so many pixels."""
    soft_YX = ndimage.gaussian_filter(ideal_YX, softness, mode="nearest") if softness else ideal_YX
    return float(np.minimum(soft_YX, cover_YX).sum() / np.maximum(soft_YX, cover_YX).sum())
