"""Feature spaces for pictures that need no weights, each with a name and a version.

Distances in a space are comparable across machines and years: `shape/1` is histograms of oriented
gradients, `colour/1` the mean and deviation of colours on a coarse grid. Unlike a trained network's
features, they carry no semantics, but neither do they depend on anybody's training set.

Shape letters: N pictures, D width, Y rows, X columns, C channels, G cells a side, A angles.
"""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

_ANGLES = 9
_CELLS = 8
_CLIP = 0.2
_PLACES = 4  # cells a side of `colour/1`


def features(space: str, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Vectors of pictures, unsigned bytes (Y, X, 3), in a space of `SPACES`: (N, D) float64."""
    return np.stack([SPACES[space](picture) for picture in pictures]).astype(np.float64)


def histograms(picture_YXC: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients of a picture, unsigned bytes (Y, X, 3): (1764,) float32.

    Dalal & Triggs 2005, doi:10.1109/CVPR.2005.177, and as there: of each pixel the channel with the
    largest gradient, nine unsigned angles, votes shared between neighbouring angles, blocks of 2 x
    2 cells normalised, clipped at 0.2 and normalised again. A grid of 8 x 8 cells covers the
    picture, whose sides are first resized to the next multiple of 8.
    """
    rows, columns = (-(-side // _CELLS) * _CELLS for side in picture_YXC.shape[:2])
    if picture_YXC.shape[:2] != (rows, columns):
        resized = Image.fromarray(picture_YXC).resize((columns, rows), Image.Resampling.BILINEAR)
        picture_YXC = np.asarray(resized)
    cell_GGA = _cells(picture_YXC.astype(np.float32) / 255)
    corners = [cell_GGA[y : y + _CELLS - 1, x : x + _CELLS - 1] for y in (0, 1) for x in (0, 1)]
    block = _unit(np.concatenate(corners, axis=-1))
    return _unit(np.minimum(block, _CLIP)).reshape(-1)


def _cells(picture_YXC: np.ndarray) -> np.ndarray:
    """Votes of each cell for each angle, (G, G, A)."""
    padded = np.pad(picture_YXC, ((1, 1), (1, 1), (0, 0)), mode="edge")
    down_YXC = padded[2:, 1:-1] - padded[:-2, 1:-1]
    right_YXC = padded[1:-1, 2:] - padded[1:-1, :-2]
    strongest = np.hypot(down_YXC, right_YXC).argmax(axis=-1)[..., None]
    down_YX = np.take_along_axis(down_YXC, strongest, axis=-1)[..., 0]
    right_YX = np.take_along_axis(right_YXC, strongest, axis=-1)[..., 0]
    size_YX = np.hypot(down_YX, right_YX)
    place_YX = np.arctan2(down_YX, right_YX) % np.pi / np.pi * _ANGLES - 0.5
    low_YX = np.floor(place_YX)
    share_YX = place_YX - low_YX
    votes = np.zeros((*size_YX.shape, _ANGLES), dtype=np.float32)
    for number, part in ((low_YX, 1 - share_YX), (low_YX + 1, share_YX)):
        index = (number.astype(np.int64) % _ANGLES)[..., None]
        now = np.take_along_axis(votes, index, axis=-1)
        np.put_along_axis(votes, index, now + (size_YX * part)[..., None], axis=-1)
    rows, columns = (side // _CELLS for side in size_YX.shape)
    return votes.reshape(_CELLS, rows, _CELLS, columns, _ANGLES).sum(axis=(1, 3))


def _unit(x: np.ndarray) -> np.ndarray:
    """Vectors along the last axis at unit length; those of nearly no length stay near zero."""
    return np.asarray(x / np.sqrt((x**2).sum(axis=-1, keepdims=True) + 1e-6))


def colours(picture_YXC: np.ndarray) -> np.ndarray:
    """Mean and deviation of each channel, 0 to 1, in each of 4 x 4 places: (96,) float32."""
    rows, columns = (-(-side // _PLACES) * _PLACES for side in picture_YXC.shape[:2])
    if picture_YXC.shape[:2] != (rows, columns):
        resized = Image.fromarray(picture_YXC).resize((columns, rows), Image.Resampling.BILINEAR)
        picture_YXC = np.asarray(resized)
    shape = (_PLACES, rows // _PLACES, _PLACES, columns // _PLACES, 3)
    place = picture_YXC.reshape(shape).astype(np.float32) / 255
    both = place.mean(axis=(1, 3)), place.std(axis=(1, 3))
    return np.concatenate([part.reshape(-1) for part in both])


SPACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shape/1": histograms,
    "colour/1": colours,
}
