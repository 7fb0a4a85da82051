"""Contact sheets: several pictures with their captions on one."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_INK, _PAPER, _FRAME = (20, 20, 20), (255, 255, 255), (200, 200, 200)
_SIZE = 13  # of letters, pixels
_LAST_LATIN = 0x24F  # Pillow's own font has no Greek, Cyrillic or Chinese
_WIDE_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "arial.ttf")
_GAP, _LINE = 12, 18  # pixels between pictures, and from one line of text to the next


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
    font = _font(captions)
    wrapped = [_wrapped(caption, font, side) for caption in captions]
    tallest = max(_fitted(picture, side)[1] for picture in pictures)
    cell_height = tallest + _LINE * max(len(lines) for lines in wrapped) + _GAP
    rows = -(-len(pictures) // columns)
    size = (columns * (side + _GAP) + _GAP, rows * cell_height + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, (picture, lines) in enumerate(zip(pictures, wrapped, strict=True)):
        left = _GAP + index % columns * (side + _GAP)
        top = _GAP + index // columns * cell_height
        _hang(sheet, picture, left, top, side)
        _write(pen, lines, left, top + tallest + 3, font)
    return sheet


def grid_sheet(
    pictures: Sequence[np.ndarray | Image.Image],
    captions: Sequence[str],
    headings: Sequence[str],
    side: int = 96,
) -> Image.Image:
    """Pictures in a table: a caption at the left of each row, a heading over each column.

    Args:
        pictures: row by row, images or unsigned bytes (Y, X, 3).
        captions: one for each row.
        headings: one for each column.
        side: width and height of a picture on the sheet, pixels; captions are twice as wide.

    Raises:
        ValueError: pictures do not fill rows and columns.
    """
    if not pictures or len(pictures) != len(captions) * len(headings):
        raise ValueError(
            f"pictures must fill {len(captions)} rows of {len(headings)}. "
            f"Got {len(pictures)} instead."
        )
    font = _font([*captions, *headings])
    columns, cell = len(headings), side + _GAP
    wrapped = [_wrapped(caption, font, 2 * side) for caption in captions]
    tallest = max(_fitted(picture, side)[1] for picture in pictures)
    row_height = max(tallest, _LINE * max(len(lines) for lines in wrapped)) + _GAP
    above = [_wrapped(heading, font, side) for heading in headings]
    first_left, first_top = 2 * side + 2 * _GAP, _GAP + _LINE * max(map(len, above))
    size = (first_left + columns * cell, first_top + len(captions) * row_height)
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, lines in enumerate(above):
        _write(pen, lines, first_left + column * cell, _GAP // 2, font)
    for row, lines in enumerate(wrapped):
        _write(pen, lines, _GAP, first_top + row * row_height, font)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        _hang(sheet, picture, first_left + column * cell, first_top + row * row_height, side)
    return sheet


def _font(texts: Sequence[str]) -> _Font:
    """Pillow's own font; for letters that it lacks, one of the machine's, if it has one."""
    if all(ord(letter) <= _LAST_LATIN for text in texts for letter in text):
        return ImageFont.load_default(_SIZE)
    for name in _WIDE_FONTS:
        try:
            return ImageFont.truetype(name, _SIZE)
        except OSError:
            continue
    return ImageFont.load_default(_SIZE)


def _write(pen: ImageDraw.ImageDraw, lines: list[str], left: int, top: int, font: _Font) -> None:
    for number, line in enumerate(lines):
        pen.text((left, top + _LINE * number), line, fill=_INK, font=font)


def _hang(
    sheet: Image.Image, picture: np.ndarray | Image.Image, left: int, top: int, side: int
) -> None:
    """Puts a framed picture on the sheet, its longer side enlarged to `side`."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    width, height = _fitted(picture, side)
    enlarged = image.convert("RGB").resize((width, height), Image.Resampling.NEAREST)
    sheet.paste(enlarged, (left, top))
    frame = (left - 1, top - 1, left + width, top + height)
    ImageDraw.Draw(sheet).rectangle(frame, outline=_FRAME)


def _fitted(picture: np.ndarray | Image.Image, side: int) -> tuple[int, int]:
    """Width and height on the sheet: the longer is `side`."""
    shape = picture.size if isinstance(picture, Image.Image) else picture.shape[1::-1]
    width, height = (max(1, round(side * length / max(shape))) for length in shape)
    return width, height


def _wrapped(caption: str, font: _Font, width: int) -> list[str]:
    """The caption in lines that fit, three at most; a word that is wider than a line is broken."""
    lines = [""]
    for word in (part for one in caption.split() for part in _parts(one, font, width)):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= 3 else [*lines[:2], _cut(lines[2], font, width)]


def _cut(line: str, font: _Font, width: int) -> str:
    """A line that goes on, as far as it fits before an ellipsis."""
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


def _parts(word: str, font: _Font, width: int) -> list[str]:
    """A word in pieces that fit."""
    parts = [""]
    for character in word:
        if parts[-1] and font.getlength(parts[-1] + character) > width:
            parts.append("")
        parts[-1] += character
    return parts
