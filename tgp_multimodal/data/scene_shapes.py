"""The flat shapes of drawn scenes: how much of each pixel one covers.

Shape letters: Y rows, X columns.
"""

from functools import lru_cache

import numpy as np


def coverage(shape: str, x: float, y: float, width: float, height: float, size: int) -> np.ndarray:
    """Returns how much of each pixel a shape covers, (Y, X) in 0 to 1; lengths are in pixels.

    Exact for squares; for the others the distance to the edge stands for the covered area.
    """
    right_X = _centres(size) - np.float32(x)
    down_Y1 = (_centres(size) - np.float32(y))[:, None]
    if shape == "square":
        cover_X = np.clip(width / 2 + 0.5 - np.abs(right_X), 0, min(1, width))
        cover_Y1 = np.clip(height / 2 + 0.5 - np.abs(down_Y1), 0, min(1, height))
        return cover_Y1 * cover_X
    if shape == "circle":
        radius_YX = np.sqrt((right_X * (2 / width)) ** 2 + (down_Y1 * (2 / height)) ** 2)
        return np.clip((1 - radius_YX) * (0.5 * np.sqrt(width * height)) + 0.5, 0, 1)
    slope = np.hypot(height, width / 2)
    outside_YX = np.abs(right_X) * (height / slope) - (down_Y1 + height / 2) * (width / 2 / slope)
    return np.clip(0.5 - outside_YX, 0, 1) * np.clip(height / 2 + 0.5 - down_Y1, 0, 1)


@lru_cache(maxsize=16)
def _centres(size: int) -> np.ndarray:
    """Returns the centres of a row's pixels, in pixels."""
    return np.arange(size, dtype=np.float32) + np.float32(0.5)
