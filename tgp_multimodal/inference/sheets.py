"""Contact sheets: several pictures with their captions on one."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_INK, _PAPER = (20, 20, 20), (255, 255, 255)
_GAP = 12


def contact_sheet(
    pictures: Sequence[np.ndarray | Image.Image],
    captions: Sequence[str],
    columns: int | None = None,
    side: int = 160,
) -> Image.Image:
    """Pictures in rows, each with its caption under it; small ones are enlarged pixel by pixel.

    Args:
        pictures: images or unsigned bytes (Y, X, 3).
        captions: one for each.
        columns: pictures in a row; left out: about a square of them, eight at most.
        side: width and height of a picture on the sheet, pixels.

    Raises:
        ValueError: there is no picture, or not one caption for each.
    """
    if not pictures or len(pictures) != len(captions):
        raise ValueError(
            "captions must be one for each of at least one picture. "
            f"Got {len(captions)} for {len(pictures)} instead."
        )
    columns = columns or min(8, len(pictures), max(4, round(len(pictures) ** 0.5)))
    font = ImageFont.load_default(13)
    wrapped = [_wrapped(caption, font, side) for caption in captions]
    cell_height = side + 18 * max(len(lines) for lines in wrapped) + _GAP
    rows = -(-len(pictures) // columns)
    size = (columns * (side + _GAP) + _GAP, rows * cell_height + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, (picture, lines) in enumerate(zip(pictures, wrapped, strict=True)):
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        left = _GAP + index % columns * (side + _GAP)
        top = _GAP + index // columns * cell_height
        sheet.paste(
            image.convert("RGB").resize((side, side), Image.Resampling.NEAREST), (left, top)
        )
        pen.rectangle((left - 1, top - 1, left + side, top + side), outline=(200, 200, 200))
        for number, line in enumerate(lines):
            pen.text((left, top + side + 3 + 18 * number), line, fill=_INK, font=font)
    return sheet


def _wrapped(
    caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    """The caption in lines that fit, three at most."""
    lines = [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= 3 else [*lines[:2], lines[2][: width // 8] + "…"]
