"""A picture to start from: drawn over as a whole, or only where a mask allows.

Shape letters: B pictures, C channels, Y rows, X columns.
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from tgp_multimodal.data.images import square, to_rgb, to_unit, turned, upright
from tgp_multimodal.diffusion.paths import noisy
from tgp_multimodal.diffusion.samplers import Denoise
from tgp_multimodal.inference import kinds, picture_inputs

_WHITE = 128  # a mask is white from this brightness on
_NEAR = 1e-6  # times are float32, and 0.6 is not the same there


class InitImage(NamedTuple):
    """What the user gives.

    Attributes:
        picture: of any size and mode.
        strength: time at which the walk starts, above 0 and at most 1; the larger, the less of the
            picture is left. Only the steps below it are taken. None: 0.6, and 1 with a mask.
        mask: as large as the picture: white is drawn anew, black is kept.
    """

    picture: Image.Image
    strength: float | None = None
    mask: Image.Image | None = None


class InitState(NamedTuple):
    """The same, ready for the samplers.

    Attributes:
        clean_CYX: the picture in [-1, 1].
        time: where the walk starts.
        redrawn_YX: True where pixels may change; None: everywhere.
    """

    clean_CYX: Tensor
    time: float
    redrawn_YX: Tensor | None

    def below(self, times: Tensor) -> Tensor:
        """The time where the walk starts, then those of a grid that lie below it.

        So a weaker walk takes fewer steps, as in other tools. With as many steps as from noise, a
        stochastic sampler would replace the picture as often however little noise there is.
        """
        later = times[(times < self.time - _NEAR) | (times == 0)]
        return torch.cat((times.new_tensor([self.time]), later))

    def at(self, noise_BCYX: Tensor) -> Tensor:
        """The picture under noise, as it is at the time where the walk starts."""
        time_B = torch.full((len(noise_BCYX),), self.time, device=noise_BCYX.device)
        return noisy(self.clean_CYX.to(noise_BCYX.device).expand_as(noise_BCYX), noise_BCYX, time_B)

    def restore_known(self, pixels_BCYX: Tensor) -> Tensor:
        """Pixels with the known ones put back where the mask keeps them."""
        if self.redrawn_YX is None:
            return pixels_BCYX
        device = pixels_BCYX.device
        return torch.where(self.redrawn_YX.to(device), pixels_BCYX, self.clean_CYX.to(device))

    def with_known_pixels(self, denoise: Denoise) -> Denoise:
        """A `denoise` that knows what the mask keeps.

        A sampler whose clean prediction holds the known pixels follows their straight path, and so
        has them at the noise level of each time, whatever its order. Overwriting its state from
        outside (Lugmayr et al. 2022, arXiv:2201.09865, eq. 8) would contradict the history that
        multistep methods keep.
        """
        return lambda x_BCYX, time: self.restore_known(denoise(x_BCYX, time))


def init_image_of(
    image: Image.Image | np.ndarray | None,
    strength: float | None,
    mask: Image.Image | np.ndarray | None,
) -> InitImage | None:
    """What a user's arguments say; None where there is no picture to start from.

    Raises:
        ValueError: strength or mask without a picture, or one that is no picture.
    """
    if image is None:
        if strength is None and mask is None:
            return None
        alone = "mask" if strength is None else "strength"
        raise ValueError(f"image must be given with {alone}. Got none instead.")
    given = None if mask is None else _image("mask", mask)
    return InitImage(_image("image", image), strength, given)


def _image(name: str, picture: Image.Image | np.ndarray) -> Image.Image:
    if isinstance(picture, Image.Image):
        return turned(picture)
    if name == "mask" and isinstance(picture, np.ndarray) and picture.dtype == bool:
        picture = np.uint8(255) * picture
    return Image.fromarray(picture_inputs.array(picture, name))


def usual_strength(has_mask: bool) -> float:
    """The strength where none is given: a mask says by itself what may be lost."""
    return 1.0 if has_mask else 0.6


def prepare(init_image: InitImage, rows: int, columns: int) -> InitState:
    """Picture and mask at the size of the pictures that are drawn.

    Raises:
        ValueError: strength is out of range, or the mask does not fit the picture or keeps all.
    """
    picture, strength, mask = init_image
    if strength is None:
        strength = usual_strength(mask is not None)
    kinds.number("strength", strength)
    if not 0 < strength <= 1:
        raise ValueError(f"strength must be above 0 and at most 1. Got {strength} instead.")
    clean_CYX = torch.from_numpy(to_unit(fitted(picture, rows, columns))).permute(2, 0, 1)
    redrawn_YX = None if mask is None else _redrawn(mask, picture.size, rows, columns)
    return InitState(clean_CYX, strength, redrawn_YX)


def _redrawn(mask: Image.Image, size: tuple[int, int], rows: int, columns: int) -> Tensor:
    if mask.size != size:
        wanted, found = (f"{width} x {height}" for width, height in (size, mask.size))
        raise ValueError(
            f"mask must be as wide and high as the picture, {wanted}. Got {found} instead."
        )
    white_YX = fitted(mask, rows, columns).mean(-1) >= _WHITE
    if not white_YX.any():
        brightest = fitted(mask, rows, columns).mean(-1).max()
        raise ValueError(
            f"mask must be white (at least {_WHITE} of 255, or truth values) where to draw."
            f" Got {brightest:.0f} at most instead."
        )
    return torch.from_numpy(white_YX)


def fitted(picture: Image.Image, rows: int, columns: int) -> np.ndarray:
    """The largest centred part of these proportions, RGB, (rows, columns, 3) unsigned bytes.

    A square is what `data.images.square` makes of the picture.
    """
    if rows == columns:
        return square(to_rgb(picture), rows)
    return np.asarray(ImageOps.fit(to_rgb(picture), (columns, rows), Image.Resampling.LANCZOS))


def read_picture(path: str | Path) -> Image.Image:
    """A picture file as RGB, turned as the camera says; what is transparent shows white.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture, or only a part of one.
    """
    data = Path(path).read_bytes()
    # Some libraries switch this on for everybody, which would turn half a picture into grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return upright(picture)
    # Damaged files make PIL's readers stumble in every way there is.
    except Exception as error:
        reason = "a file of no known kind" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{path} must be a whole picture file. Got {reason} instead.") from error
