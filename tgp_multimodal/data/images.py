"""Picture files to square arrays of unsigned bytes, and bytes to the [-1, 1] that the head sees.

Shape letters: Y rows, X columns.
"""

import io

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif",
    ".tiff", ".ppm", ".pgm",
)  # fmt: skip

_PIXEL_ART = 32  # a picture of no more rows or columns keeps hard edges when it is enlarged
_WHITE = (255, 255, 255, 255)
_ORIENTATION = 0x0112  # the tag of EXIF: how the camera was held
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAY_HOW = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")  # where the tag may stand


def decode(data: bytes, size: int) -> np.ndarray:
    """The centre of a picture as RGB, (Y, X, 3) unsigned bytes, `size` rows and columns.

    The camera's orientation is obeyed, the shorter side resized to `size`, and what is transparent
    shows white.

    Raises:
        ValueError: it is no picture, or only a part of one.
    """
    # Some libraries switch this on for everybody, which would turn half a picture into grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data)) as image:
            # A JPEG decodes to a half, quarter or eighth for a fraction of the time.
            image.draft(None, (2 * size, 2 * size))
            image.load()
            return square(upright(image), size)
    # Damaged files make PIL's readers stumble in every way there is.
    except Exception as error:
        raise ValueError(
            f"picture must be a whole image file. Got {_reason(error)} instead."
        ) from error


def upright(image: Image.Image) -> Image.Image:
    """A picture as its camera was held, as RGB; see `to_rgb`."""
    return to_rgb(turned(image))


def turned(image: Image.Image) -> Image.Image:
    """A copy of a picture as its camera was held, its mode kept.

    `ImageOps.exif_transpose` writes all other tags anew, and fails where one is of a wrong type.
    Here they are dropped with the orientation, so that nobody turns the copy again.
    """
    image.load()
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken tags do not make a bad picture
        turn = None
    if turn is None:
        return image.copy()
    found = image.transpose(turn)
    for name in _SAY_HOW:
        found.info.pop(name, None)
    return found


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: grey, palette, one bit, 16 bits, CMYK; transparency over white."""
    if image.mode == "F":
        raise ValueError("floating-point pixels of unknown range")
    if image.mode.startswith("I"):
        # PIL would cut 16 bits off at 255.
        grey_YX = np.clip(np.asarray(image, dtype=np.int64) >> 8, 0, 255)
        return Image.fromarray(grey_YX.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        paper = Image.new("RGBA", picture.size, _WHITE)
        return Image.alpha_composite(paper, picture).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, size: int) -> np.ndarray:
    """The largest centred square of a picture at `size` rows and columns, antialiased."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    is_pixel_art = max(image.size) <= _PIXEL_ART and side < size
    resample = Image.Resampling.BOX if is_pixel_art else Image.Resampling.LANCZOS
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), resample, box=box, reducing_gap=3.0))


def resized(pixels_YXC: np.ndarray, size: int) -> np.ndarray:
    """Decoded pixels as `square` makes them; those that fit come back as they are."""
    if pixels_YXC.shape[:2] == (size, size):
        return pixels_YXC
    return square(Image.fromarray(pixels_YXC), size)


def cropped(pixels_YXC: np.ndarray, share: float, down: float, right: float) -> np.ndarray:
    """A part of a picture, enlarged to the size of the whole.

    Args:
        pixels_YXC: unsigned bytes.
        share: of the rows and of the columns that the part has; above 0, at most 1.
        down: how far down it lies, from 0 (at the top) to 1 (at the bottom).
        right: how far to the right, from 0 to 1.
    """
    rows, columns = pixels_YXC.shape[:2]
    top, left = down * (1 - share) * rows, right * (1 - share) * columns
    box = (left, top, left + share * columns, top + share * rows)
    image = Image.fromarray(pixels_YXC)
    return np.asarray(image.resize((columns, rows), Image.Resampling.LANCZOS, box=box))


def grey(pixels_YXC: np.ndarray) -> np.ndarray:
    """A picture of equal red, green and blue: its brightness as ITU-R BT.601 weighs them."""
    return np.repeat(np.asarray(Image.fromarray(pixels_YXC).convert("L"))[..., None], 3, axis=2)


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """Bytes 0 to 255 as float32 in [-1, 1], any shape."""
    return pixels.astype(np.float32) * np.float32(1 / 127.5) - np.float32(1)


def to_bytes(unit: np.ndarray) -> np.ndarray:
    """The inverse of `to_unit`; what lies outside [-1, 1] is clipped."""
    return np.rint(np.clip((unit + 1) * 127.5, 0, 255)).astype(np.uint8)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "a file of no known kind"
    return f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else str(error)
