"""Pictures to start from: sizes, masks, the noise that they start under."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from random_networks import multimodal

from tgp_multimodal.data import images
from tgp_multimodal.diffusion.samplers import SAMPLERS, euler_times, find
from tgp_multimodal.inference import image
from tgp_multimodal.inference.drawing import Drawing
from tgp_multimodal.inference.init_image import InitImage, fitted, prepare, read_picture

PROMPTS = ["a red circle", "x", "three green squares"]


@pytest.fixture(scope="module")
def network(tokenizer):
    return multimodal(tokenizer.vocabulary)


def noise_picture(width, height, mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def left_half(width, height):
    """A mask that draws the left half anew."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (0, 0, width // 2, height))
    return mask


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"])
@pytest.mark.parametrize("shape", [(40, 30), (9, 9), (16, 16)])
def test_squares_follow_the_rules_of_training_data(mode, shape):
    picture = noise_picture(*shape, "L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 256)
    data = io.BytesIO()
    picture.save(data, "TIFF")
    assert np.array_equal(fitted(picture, 16, 16), images.decode(data.getvalue(), 16))


def test_rectangles_are_the_largest_centred_part():
    pixels_YXC = np.zeros((40, 60, 3), np.uint8)
    pixels_YXC[10:30] = 200  # what 1 : 3 leaves of the rows
    wide = fitted(Image.fromarray(pixels_YXC), 8, 24)
    assert wide.shape == (8, 24, 3)
    assert np.abs(wide.astype(int) - 200).max() <= 20  # the filter reaches over the edge
    tall = fitted(Image.fromarray(pixels_YXC), 24, 12)
    assert tall.shape == (24, 12, 3)
    assert tall[12].max() == 200
    assert tall[0].max() == 0
    same = np.asarray(noise_picture(48, 32))
    assert np.array_equal(fitted(Image.fromarray(same), 32, 48), same)


def test_files_are_read_as_the_camera_says(tmp_path):
    picture = noise_picture(6, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture.save(tmp_path / "turned.png", exif=exif)
    assert read_picture(tmp_path / "turned.png").size == (4, 6)
    picture.save(tmp_path / "plain.png")
    assert np.array_equal(np.asarray(read_picture(tmp_path / "plain.png")), np.asarray(picture))


def test_files_that_are_no_pictures_are_refused(tmp_path):
    whole = io.BytesIO()
    noise_picture(64, 64).save(whole, "PNG")
    for data, reason in [(b"text", "a file of no known kind"), (whole.getvalue()[:-4000], "trunc")]:
        (tmp_path / "x.png").write_bytes(data)
        with pytest.raises(
            ValueError, match=rf"x\.png must be a whole picture file\. Got .*{reason}"
        ):
            read_picture(tmp_path / "x.png")
    Image.new("F", (4, 4)).save(tmp_path / "depth.tiff")
    with pytest.raises(
        ValueError, match=r"must be a whole picture file\. Got floating-point pixels"
    ):
        read_picture(tmp_path / "depth.tiff")
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "nowhere.png")


PICTURE = noise_picture(20, 20)
REFUSED = [
    (InitImage(PICTURE, 0.0), r"strength must be above 0 and at most 1\. Got 0\.0 instead\."),
    (InitImage(PICTURE, 1.5), r"strength must be above 0 and at most 1\. Got 1\.5 instead\."),
    (
        InitImage(PICTURE, None, left_half(20, 30)),
        r"mask must be as wide and high as the picture, 20 x 20\. Got 20 x 30 instead\.",
    ),
    (
        InitImage(PICTURE, None, Image.new("1", (20, 20))),
        r"mask must be white .* where to draw\. Got 0 at most",
    ),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_does_not_fit_is_refused(network, tokenizer, given, message):
    with pytest.raises(ValueError, match=message):
        image.draw(network, tokenizer, ["x"], Drawing(2), init_image=given)


def test_strength_is_the_time_of_the_start():
    assert prepare(InitImage(PICTURE), 16, 16).time == 0.6
    assert prepare(InitImage(PICTURE, None, left_half(20, 20)), 16, 16).time == 1.0
    own = prepare(InitImage(PICTURE, 0.25), 16, 16)
    noise = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(own.at(noise), 0.75 * own.clean_CYX + 0.25 * noise)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_network_is_asked_from_the_strength_down(network, tokenizer, monkeypatch, sampler):
    seen = []
    real = network.head.denoise

    def denoise(pixels_BCYX, time_B, text, mask_BL):
        seen.append((float(time_B[0]), pixels_BCYX[:1].clone()))
        return real(pixels_BCYX, time_B, text, mask_BL)

    monkeypatch.setattr(network.head, "denoise", denoise)
    drawing = Drawing(4, seed=5, sampler=sampler)
    image.draw(network, tokenizer, ["x"], drawing, init_image=InitImage(PICTURE, 0.4))
    times = [time for time, _ in seen]
    assert times[0] == pytest.approx(0.4, abs=1.1e-3)
    assert times == sorted(times, reverse=True)
    expected = prepare(InitImage(PICTURE, 0.4), 16, 16).at(image.own_noise([5], 16, 16)())
    torch.testing.assert_close(seen[0][1], expected)


@pytest.mark.parametrize(
    ("strength", "steps"), [(5e-7, 1), (0.001, 1), (0.2, 5), (0.6, 13), (1.0, 20)]
)
def test_a_weak_walk_takes_fewer_steps(strength, steps):
    times = prepare(InitImage(PICTURE, strength), 16, 16).below(euler_times(20))
    assert len(times) - 1 == steps
    assert times[0].item() == pytest.approx(strength)
    assert times[-1] == 0
    assert (times[1:] < times[:-1]).all()


def test_weak_strength_keeps_the_picture_and_full_strength_ignores_it(network, tokenizer):
    drawing = Drawing(4, sampler="dpm")
    kept = images.to_unit(fitted(PICTURE, 16, 16))
    distances = []
    for strength in (0.01, 0.5, 1.0):
        drawn = image.draw(
            network, tokenizer, ["x"], drawing, init_image=InitImage(PICTURE, strength)
        )
        distances.append(np.abs(images.to_unit(drawn[0]) - kept).mean())
    assert distances[0] < 0.25 * min(distances[1:])
    assert np.array_equal(drawn, image.draw(network, tokenizer, ["x"], drawing))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", [None, 0.5])
def test_a_mask_keeps_pixels_exactly_and_draws_the_others(network, tokenizer, sampler, strength):
    picture = noise_picture(30, 20)
    given = InitImage(picture, strength, left_half(30, 20))
    drawing = Drawing(5, size=(16, 24), sampler=sampler)
    pictures = image.draw(network, tokenizer, PROMPTS, drawing, init_image=given)
    expected = fitted(picture, 16, 24)
    for drawn in pictures:
        assert np.array_equal(drawn[:, 12:], expected[:, 12:])
        assert (drawn[:, :12] != expected[:, :12]).mean() > 0.5
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_known_pixels_lie_under_the_noise_of_each_time(sampler):
    """The states that the network sees have the noise of their time in the part that is kept."""
    given = InitImage(noise_picture(64, 64), None, left_half(64, 64))
    own, seen = prepare(given, 64, 64), []
    generator = torch.Generator().manual_seed(0)

    def fresh():
        return torch.randn(1, 3, 64, 64, generator=generator)

    def denoise(x, time):
        seen.append((time, x))
        return 0.3 * x

    find(sampler)(own.with_known_pixels(denoise), own.at(fresh()), fresh, euler_times(12))
    for time, x in seen:
        if time > 0.05:  # below it the stock divisor makes steps shorter
            noise = ((x - (1 - time) * own.clean_CYX) / time)[..., 32:]
            assert float(noise.mean()) == pytest.approx(0, abs=0.05)
            assert float(noise.std()) == pytest.approx(1, abs=0.05)
    assert sum(time > 0.05 for time, _ in seen) >= 10


def test_what_is_redrawn_answers_to_what_is_kept(network, tokenizer):
    """The network sees the kept part: another one changes the pixels that are drawn."""
    mask = left_half(16, 16)
    drawn = [
        image.draw(
            network, tokenizer, ["x"], Drawing(5), init_image=InitImage(picture, None, mask)
        )[0]
        for picture in (noise_picture(16, 16), Image.new("RGB", (16, 16), "white"))
    ]
    assert (drawn[0][:, :8] != drawn[1][:, :8]).any()


def test_a_picture_depends_on_its_prompt_and_seed_alone(network, tokenizer):
    for given in (InitImage(PICTURE, 0.7), InitImage(PICTURE, None, left_half(20, 20))):
        drawing = Drawing(4, seed=3)
        together = image.draw(network, tokenizer, PROMPTS, drawing, init_image=given).astype(int)
        in_pairs = image.draw(network, tokenizer, PROMPTS, drawing, batch=2, init_image=given)
        assert np.abs(in_pairs - together).max() <= 1  # rounding
        alone = image.draw(network, tokenizer, PROMPTS[2:], drawing, seeds=[5], init_image=given)
        assert np.abs(alone[0] - together[2]).max() <= 1


def test_bytes_survive_the_way_to_the_network_and_back():
    every_YXC = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    own = prepare(
        InitImage(Image.fromarray(every_YXC), None, Image.new("L", (16, 16), 255)), 16, 16
    )
    assert np.array_equal(image.to_bytes(own.clean_CYX[None])[0], every_YXC)
