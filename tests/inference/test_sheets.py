"""Sheets of pictures: where they hang, and how large."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageFont

from tgp_multimodal.inference import sheets
from tgp_multimodal.inference.sheets import contact_sheet, grid_sheet

COLOURS = ["red", "lime", "blue", "yellow", "cyan", "magenta"]


def places(sheet, colour):
    """Rows and columns of the pixels of a colour."""
    wanted = np.asarray(Image.new("RGB", (1, 1), colour))[0, 0]
    return np.nonzero((np.asarray(sheet) == wanted).all(-1))


def test_a_grid_has_rows_of_captions_and_columns_of_headings():
    pictures = [Image.new("RGB", (8, 8), colour) for colour in COLOURS]
    sheet = grid_sheet(pictures, ["first row", "second row"], ["a", "b", "c"], side=40)
    corners = [tuple(int(axis.min()) for axis in places(sheet, c)) for c in COLOURS]
    tops, lefts = [t for t, _ in corners], [x for _, x in corners]
    assert tops[:3] == [tops[0]] * 3
    assert tops[3:] == [tops[3]] * 3
    assert lefts[:3] == lefts[3:] == sorted(lefts[:3])
    assert all(len(places(sheet, colour)[0]) == 40 * 40 for colour in COLOURS)
    ink = np.asarray(sheet).min(-1) < 100
    for rows, columns in [
        (slice(0, tops[0] - 1), slice(lefts[0], None)),  # headings
        (slice(tops[0], tops[0] + 40), slice(0, lefts[0] - 1)),  # captions
        (slice(tops[3], tops[3] + 40), slice(0, lefts[0] - 1)),
    ]:
        assert ink[rows, columns].any()


def test_wide_pictures_leave_no_gap_under_them():
    pictures = [Image.new("RGB", (16, 4), colour) for colour in COLOURS]
    grid = grid_sheet(pictures, ["a", "b"], ["x", "y", "z"], side=80)
    upper, lower = places(grid, "red")[0], places(grid, "yellow")[0]
    assert lower.min() - upper.max() < 20
    sheet = contact_sheet(pictures, COLOURS, columns=1, side=80)
    rows = [places(sheet, colour)[0] for colour in COLOURS]
    assert all(40 > b.min() - a.max() > 20 for a, b in pairwise(rows))


def test_long_headings_push_pictures_down():
    pictures = [Image.new("RGB", (8, 8), colour) for colour in COLOURS[:2]]
    short, long = (
        grid_sheet(pictures, ["row"], [heading, "b"], side=60)
        for heading in ("a", "a heading of many words")
    )
    assert places(long, "red")[0].min() > places(short, "red")[0].min()
    assert places(long, "red")[1].min() == places(short, "red")[1].min()


def test_a_grid_must_be_filled():
    picture = Image.new("RGB", (8, 8))
    with pytest.raises(ValueError, match=r"pictures must fill 2 rows of 2\. Got 3 instead\."):
        grid_sheet([picture] * 3, ["a", "b"], ["x", "y"])
    with pytest.raises(ValueError, match=r"pictures must fill 0 rows of 2\. Got 0 instead\."):
        grid_sheet([], [], ["x", "y"])


@pytest.mark.parametrize(("size", "shape"), [((8, 8), (60, 60)), ((16, 8), (30, 60))])
def test_pictures_keep_their_proportions(size, shape):
    pictures = [Image.new("RGB", size, colour) for colour in COLOURS]
    sheet = contact_sheet(pictures, COLOURS, side=60)
    for colour in COLOURS:
        rows, columns = places(sheet, colour)
        assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == shape


def test_captions_must_be_one_for_each():
    with pytest.raises(ValueError, match=r"captions must be one for each .* Got 1 for 2 instead"):
        contact_sheet([Image.new("RGB", (8, 8))] * 2, ["a"])


def test_letters_that_the_usual_font_lacks_are_looked_for_elsewhere(monkeypatch):
    asked, own = [], ImageFont.load_default(13)

    def truetype(name, size):
        asked.append(name)
        if len(asked) < 2:
            raise OSError("no such font")
        return own

    monkeypatch.setattr(ImageFont, "load_default", lambda size: own)
    monkeypatch.setattr(ImageFont, "truetype", truetype)
    picture = np.zeros((4, 4, 3), np.uint8)
    contact_sheet([picture], ["ein Kreis, größer als naïf"])
    assert asked == []
    contact_sheet([picture], ["красный круг"])
    assert len(asked) == 2
    monkeypatch.setattr(ImageFont, "truetype", lambda *_: (_ for _ in ()).throw(OSError))
    assert contact_sheet([picture], ["красный круг"]).size[0] > 0


def test_a_word_wider_than_its_cell_is_broken():
    font = ImageFont.load_default(13)
    lines = sheets._wrapped("donaudampfschifffahrtsgesellschaftskapitän and more", font, 96)
    assert len(lines) == 3
    assert all(font.getlength(line) <= 100 for line in lines[:2])


@pytest.mark.parametrize("word", ["漢字漢字漢字", "WWWWWWWW", "ill"])
def test_what_is_cut_is_cut_where_it_would_not_fit(word):
    font = ImageFont.load_default(13)
    last = sheets._wrapped(" ".join([word] * 60), font, 160)[2]
    assert last.endswith("…")
    assert 160 - font.getlength(f" {word}…") <= font.getlength(last) <= 160
