"""The path's ends, middle and velocity."""

import torch

from tgp_multimodal.diffusion.paths import T_MIN, noisy, velocity


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


def test_velocity_is_the_derivative_of_the_path():
    data, noise = torch.randn(2, 3, 3, 4, 4, dtype=torch.float64)
    times = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    step = 1e-6
    slope = (noisy(data, noise, times + step) - noisy(data, noise, times)) / step
    found = velocity(noisy(data, noise, times), data, times)
    torch.testing.assert_close(found, noise - data, atol=1e-12, rtol=0)
    torch.testing.assert_close(slope, noise - data, atol=1e-6, rtol=0)


def test_velocity_divides_by_no_smaller_time_than_the_stock_pipeline():
    data, noise = torch.randn(2, 1, 3, 4, 4)
    point = noisy(data, noise, torch.tensor([0.01]))
    torch.testing.assert_close(velocity(point, data, torch.tensor([0.01])), (point - data) / T_MIN)
