"""Nearest training pictures: copies are found, new pictures are not."""

import numpy as np
import pytest
from benchmark_modules import opened

memorisation = opened("memorisation.py")


def pictures(count, seed):
    shades = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return shades.repeat(8, axis=1).repeat(8, axis=2)


def test_nearest_by_hand():
    some, among = memorisation.downsampled(pictures(3, 0)), memorisation.downsampled(pictures(9, 1))
    index, distance = memorisation.nearest(some, among)
    every = np.sqrt(np.square(some[:, None] - among[None]).mean(axis=2))
    assert index.tolist() == every.argmin(axis=1).tolist()
    np.testing.assert_allclose(distance, every.min(axis=1), rtol=1e-4)


def test_copies_are_suspect_and_new_pictures_are_not():
    train, held_out = pictures(300, 0), pictures(200, 1)
    noisy = np.clip(train[:20].astype(int) + 3, 0, 255).astype(np.uint8)
    parts = [memorisation.downsampled(p) for p in (noisy, held_out, train)]
    having = [{i, i + 100} if i < 15 else {i + 1} for i in range(19)]  # captions that are shared
    copied = memorisation.report(parts[0], [*having, ()], *parts[1:])
    assert copied["suspect_share"] == 1
    assert copied["nearest_has_the_caption"] == 15 / 19
    new = memorisation.report(memorisation.downsampled(pictures(50, 2)), [()] * 50, *parts[1:])
    assert new["nearest_has_the_caption"] == 0
    assert new["suspect_share"] < 0.1
    assert new["median_distance_drawn"] == pytest.approx(new["median_distance_held_out"], rel=0.1)
