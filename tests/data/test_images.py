"""Every kind of picture comes out as the RGB that a person sees, and half a file never does."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from tgp_multimodal.data import images

RED = (200, 30, 30)


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width, height, seed=0):
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (40, 40), RED), RED),
        (Image.new("RGBA", (40, 40), (*RED, 255)), RED),
        (Image.new("RGBA", (40, 40), (*RED, 0)), (255, 255, 255)),
        (Image.new("RGBA", (40, 40), (0, 0, 0, 127)), (128, 128, 128)),
        (Image.new("LA", (40, 40), (10, 0)), (255, 255, 255)),
        (Image.new("L", (40, 40), 77), (77, 77, 77)),
        (Image.new("1", (40, 40), 1), (255, 255, 255)),
        (Image.new("1", (40, 40), 0), (0, 0, 0)),
        (Image.new("RGB", (40, 40), RED).quantize(4), RED),
        (Image.fromarray(np.full((40, 40), 0x4D00, dtype=np.uint16)), (77, 77, 77)),
    ],
)
def test_every_mode_becomes_rgb(image, expected):
    pixels = images.decode(encoded(image), 16)
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_palette_with_a_transparent_colour_shows_white():
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, *RED])
    pixels = images.decode(encoded(image, transparency=1), 16)
    assert (pixels == 255).all()


def test_cmyk_jpeg_becomes_rgb():
    image = Image.new("RGB", (40, 40), RED).convert("CMYK")
    pixels = images.decode(encoded(image, "JPEG", quality=95), 16)
    assert np.abs(pixels.astype(int) - RED).max() <= 6


def test_floating_point_pixels_are_refused():
    with pytest.raises(ValueError, match="floating-point pixels of unknown range"):
        images.decode(encoded(Image.new("F", (40, 40), 0.5), "TIFF"), 16)


def test_orientation_of_the_camera_is_obeyed():
    image = Image.new("RGB", (40, 40))
    image.paste(RED, (0, 0, 40, 20))  # the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated clockwise
    pixels = images.decode(encoded(image, "JPEG", exif=exif, quality=95), 20)
    assert pixels[10, 15, 0] > 150 > 60 > pixels[10, 4, 0]  # red is on the right


@pytest.mark.parametrize("orientation", range(10))
def test_a_picture_is_turned_as_pil_turns_it_and_once(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "JPEG", "TIFF"):
        with Image.open(io.BytesIO(encoded(noise(6, 4), kind, exif=exif))) as image:
            found, expected = images.turned(image), ImageOps.exif_transpose(image)
        assert found.size == expected.size
        assert found.tobytes() == expected.tobytes()
        assert images.turned(found).tobytes() == found.tobytes()


def test_a_tag_of_a_wrong_type_costs_no_picture():
    """As some cameras write it: a resolution that is a word."""
    fields = struct.pack("<HHLHHHHL4s", 0x0112, 3, 1, 6, 0, 0x011A, 2, 4, b"low\0")
    exif = b"Exif\0\0II*\0" + struct.pack("<LH", 8, 2) + fields + bytes(4)
    picture = encoded(noise(6, 4), "JPEG", exif=exif)
    with Image.open(io.BytesIO(picture)) as image:
        assert images.turned(image).size == (4, 6)
        with pytest.raises((TypeError, ValueError)):  # which, depends on the version
            ImageOps.exif_transpose(image)
    assert images.decode(picture, 4).shape == (4, 4, 3)
    broken = encoded(noise(4, 4), "JPEG", exif=b"Exif\0\0no tags")
    assert images.decode(broken, 4).shape == (4, 4, 3)


@pytest.mark.parametrize(("width", "height"), [(90, 30), (30, 90)])
def test_the_centre_is_kept(width, height):
    image = Image.new("RGB", (width, height))
    left, top = (width - 30) // 2, (height - 30) // 2
    image.paste(RED, (left, top, left + 30, top + 30))
    pixels = images.decode(encoded(image), 30)
    assert (pixels == RED).all()


def test_large_pictures_are_averaged_not_sampled():
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = images.decode(encoded(Image.fromarray(stripes)), 16)
    assert np.abs(pixels.astype(int) - 127).max() < 20


def test_reduced_decoding_of_a_jpeg_looks_like_full_decoding():
    smooth = noise(30, 30).resize((480, 480), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as full:
        expected = images.square(full.convert("RGB"), 64)
    assert np.abs(images.decode(data, 64).astype(int) - expected).mean() < 1


def test_pixel_art_keeps_hard_edges_and_photographs_do_not_get_them():
    art = images.decode(encoded(noise(16, 16)), 32)
    assert (art == np.asarray(noise(16, 16)).repeat(2, 0).repeat(2, 1)).all()
    photograph = images.decode(encoded(noise(48, 48)), 96)
    assert (photograph != np.asarray(noise(48, 48)).repeat(2, 0).repeat(2, 1)).any()


def test_a_picture_of_the_right_size_is_left_alone():
    assert (images.decode(encoded(noise(32, 32)), 32) == np.asarray(noise(32, 32))).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(kind, share, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as another library may set it
    data = encoded(noise(64, 64), kind)
    assert images.decode(data, 32).shape == (32, 32, 3)
    with pytest.raises(ValueError, match=r"picture must be a whole image file\. Got .* instead\."):
        images.decode(data[: int(len(data) * share)], 32)


@pytest.mark.parametrize("data", [b"", b"no picture at all", b"\xff\xd8\xff\xe0\x00\x10JFIF"])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(ValueError, match=r"picture must be a whole image file\. Got .* instead\."):
        images.decode(data, 32)


def test_resized_pixels():
    pixels = np.asarray(noise(32, 32))
    assert images.resized(pixels, 32) is pixels
    assert images.resized(pixels, 48).shape == (48, 48, 3)


@pytest.mark.parametrize(
    ("share", "down", "right", "box"),
    [
        (1, 0.3, 0.9, (0, 0, 32, 32)),
        (0.5, 0, 0, (0, 0, 16, 16)),
        (0.5, 1, 0, (0, 16, 16, 32)),
        (0.5, 0, 1, (16, 0, 32, 16)),
        (0.75, 0.5, 0.5, (4, 4, 28, 28)),
    ],
)
def test_a_crop_is_that_part_enlarged(share, down, right, box):
    smooth = noise(4, 4).resize((32, 32), Image.Resampling.BICUBIC)
    found = images.cropped(np.asarray(smooth), share, down, right)
    expected = np.asarray(smooth.crop(box).resize((32, 32), Image.Resampling.LANCZOS))
    assert found.shape == (32, 32, 3)
    # They differ at the edge of the part, beyond which one knows more than the other.
    assert np.abs(found[4:-4, 4:-4].astype(int) - expected[4:-4, 4:-4]).max() <= 2


def test_unit_and_back():
    every = np.arange(256, dtype=np.uint8)
    unit = images.to_unit(every)
    assert unit.dtype == np.float32
    assert (unit[0], unit[255]) == (-1, 1)
    assert (images.to_bytes(unit) == every).all()
    assert images.to_bytes(np.array([-7.0, 7.0])).tolist() == [0, 255]
