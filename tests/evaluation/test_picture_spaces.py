"""Spaces of pictures: known pictures, invariances, sizes."""

import numpy as np
import pytest

from tgp_multimodal.adapters.hog import Hog
from tgp_multimodal.evaluation.picture_spaces import SPACES, features, histograms
from tgp_multimodal.evaluation.requests import Embed


def edges(angle: float, side: int = 32) -> np.ndarray:
    """Waves whose gradient points everywhere along one angle, (Y, X, 3)."""
    y, x = np.mgrid[:side, :side]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) / 2)
    return np.repeat((127 + 120 * wave).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("number", range(9))
def test_waves_vote_for_their_angle(number: int) -> None:
    vector = histograms(edges((number + 0.5) * np.pi / 9)).reshape(7, 7, 4, 9)
    assert (vector.sum(axis=(0, 1, 2)).argmax()) == number


def test_brightness_and_contrast_do_not_matter() -> None:
    picture = edges(0.7)
    weak = (picture // 2 + 60).astype(np.uint8)
    assert np.abs(histograms(picture) - histograms(weak)).max() < 0.03
    assert np.abs(histograms(picture) - histograms(255 - picture)).max() < 1e-6  # unsigned


def test_blocks_have_unit_length_and_flat_pictures_none() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    length = np.linalg.norm(histograms(noise).reshape(49, 36), axis=1)
    np.testing.assert_allclose(length, 1, atol=1e-3)
    assert not histograms(np.full((32, 32, 3), 9, np.uint8)).any()


def test_pictures_of_any_size_have_vectors_of_one_width() -> None:
    sizes = [(28, 28), (16, 16), (64, 64), (48, 40), (5, 9)]
    pictures = [np.full((*size, 3), 7, np.uint8) for size in sizes]
    assert features("shape/1", pictures).shape == (5, 1764)
    assert features("colour/1", pictures).shape == (5, 96)
    answers = Hog().answer([Embed(picture) for picture in pictures])
    np.testing.assert_array_equal(np.stack(answers), features("shape/1", pictures))


def test_colours_are_seen_where_they_are() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:8, 24:, 1] = 255
    mean, deviation = features("colour/1", [picture])[0].reshape(2, 4, 4, 3)
    assert mean[0, 3].tolist() == [0, 1, 0]
    assert mean.sum() == 1
    assert not deviation.any()


def test_every_space_has_a_version() -> None:
    assert all(name.rpartition("/")[2].isdigit() for name in SPACES)
