"""Pictures as networks see them: the preprocessing of training, for whatever a user brings.

Shape letters: C channels, Y rows, X columns.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tgp_multimodal.data import images

_KINDS = "unsigned bytes (Y, X), (Y, X, 1) or (Y, X, 3)"


def array(picture: object) -> np.ndarray:
    """A picture as unsigned bytes (Y, X, 3).

    Args:
        picture: a PIL image of any mode (transparency shows white, and the camera's orientation is
            obeyed), or unsigned bytes, grey or RGB.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(picture, Image.Image):
        return np.asarray(images.upright(picture))
    if not isinstance(picture, np.ndarray):
        raise ValueError(
            f"a picture must be a PIL image or {_KINDS}. Got {type(picture).__name__} instead."
        )
    shape = picture.shape
    if picture.dtype != np.uint8 or len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,)):
        raise ValueError(
            f"a picture must be {_KINDS}. Got {picture.dtype} of shape {shape} instead."
        )
    return np.broadcast_to(picture.reshape(*shape[:2], -1), (*shape[:2], 3))


def pixels(picture: object, side: int) -> Tensor:
    """The centred square of a picture, resized, in [-1, 1]: (C, Y, X), `side` rows and columns."""
    square = images.resized(np.ascontiguousarray(array(picture)), side)
    return torch.from_numpy(images.to_unit(square)).permute(2, 0, 1)
