"""Pictures as networks see them: the preprocessing of training, for whatever a user brings.

Shape letters: C channels, Y rows, X columns.
"""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tgp_multimodal.data import images

_ONE = ((), (1,), (3,))  # what follows rows and columns in the shape of one picture
_KINDS = "unsigned bytes (Y, X), (Y, X, 1) or (Y, X, 3)"


def array(picture: object, name: str = "a picture") -> np.ndarray:
    """A picture as unsigned bytes (Y, X, 3).

    Args:
        picture: a PIL image of any mode (transparency shows white, and the camera's orientation is
            obeyed), or unsigned bytes, grey or RGB.
        name: what messages call it.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(picture, Image.Image):
        return np.asarray(images.upright(picture))
    if not isinstance(picture, np.ndarray):
        raise ValueError(
            f"{name} must be a PIL image or {_KINDS}. Got {type(picture).__name__} instead."
        )
    shape = picture.shape
    is_one = len(shape) in (2, 3) and shape[2:] in _ONE and picture.size > 0
    if picture.dtype != np.uint8 or not is_one:
        raise ValueError(f"{name} must be {_KINDS}. Got {picture.dtype} of shape {shape} instead.")
    return np.broadcast_to(picture.reshape(*shape[:2], -1), (*shape[:2], 3))


def several(pictures: object) -> list[object]:
    """Pictures of a list or an array, not looked at one by one.

    Raises:
        ValueError: it is one picture, or no list.
    """
    if isinstance(pictures, str | Image.Image) or not isinstance(pictures, Iterable):
        raise ValueError(
            f"pictures must be a list of pictures. Got {type(pictures).__name__} instead."
        )
    if isinstance(pictures, np.ndarray) and pictures.ndim < 4 and pictures.shape[2:] in _ONE:
        raise ValueError(
            "pictures must be a list of pictures, or an array (N, Y, X, 3)."
            f" Got an array of shape {pictures.shape}, one picture, instead."
        )
    return list(pictures)


def pixels(picture: object, side: int) -> Tensor:
    """The centred square of a picture, resized, in [-1, 1]: (C, Y, X), `side` rows and columns."""
    square = images.resized(np.ascontiguousarray(array(picture)), side)
    return torch.from_numpy(images.to_unit(square)).permute(2, 0, 1)
