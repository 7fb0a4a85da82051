"""The path's ends and middle."""

import torch

from tgp_multimodal.diffusion.paths import noisy


def test_ends_and_middle():
    data, noise = torch.randn(2, 3, 3, 4, 4)
    assert torch.equal(noisy(data, noise, torch.zeros(3)), data)
    assert torch.equal(noisy(data, noise, torch.ones(3)), noise)
    middle = noisy(data, noise, torch.full((3,), 0.25))
    torch.testing.assert_close(middle, 0.75 * data + 0.25 * noise)


def test_each_picture_has_its_own_time():
    data, noise = torch.randn(2, 3, 3, 4, 4)
    times = torch.tensor([0.0, 0.5, 1.0])
    mixed = noisy(data, noise, times)
    assert torch.equal(mixed[0], data[0])
    assert torch.equal(mixed[2], noise[2])
