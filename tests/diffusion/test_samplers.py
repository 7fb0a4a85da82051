"""Samplers: the stock grid, exact where they must be, of the order that they claim."""

import math

import numpy as np
import pytest
import torch

from tgp_multimodal.diffusion.samplers import (
    ancestral,
    euler,
    euler_times,
    find,
    heun,
)

ORDERS = {"euler": 1, "heun": 2}


@pytest.mark.parametrize("steps", [1, 2, 3, 20, 28])
def test_grid_is_the_stock_schedulers(steps):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(euler_times(steps), scheduler.sigmas, atol=1e-7, rtol=0)
    stock = scheduler.timesteps / 1000
    torch.testing.assert_close(euler_times(steps)[:-1], stock, atol=1e-7, rtol=0)


def test_euler_steps_are_the_stock_schedulers():
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    scheduler.set_timesteps(7)
    noise = torch.randn(2, 3, 4, 4)
    x = noise
    for t in scheduler.timesteps:
        slope = (x - x.tanh()) / max(float(t) / 1000, 0.05)
        x = scheduler.step(slope, t, x).prev_sample
    ours = euler(lambda x, t: x.tanh(), noise, None, euler_times(7))
    torch.testing.assert_close(ours, x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("steps", [2, 5])
def test_constant_velocity_is_walked_exactly(name, steps):
    noise, data = torch.randn(2, 1, 3, 4, 4, dtype=torch.float64)
    times = torch.linspace(1, 0.1, steps, dtype=torch.float64)

    def denoise(x, time):
        return x - time * (noise - data)

    expected = noise + (0.1 - 1) * (noise - data)
    torch.testing.assert_close(find(name)(denoise, noise, None, times), expected)


def test_a_sure_network_is_reached_in_one_last_step():
    data = torch.rand(1, 3, 4, 4) * 2 - 1
    for name in ("ancestral", *ORDERS):
        times = torch.tensor([1.0, 0.5, 0.05, 0.0])
        noise = torch.randn(1, 3, 4, 4)
        drawn = find(name)(lambda x, t: data, noise, lambda: torch.randn(1, 3, 4, 4), times)
        torch.testing.assert_close(drawn, data, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ORDERS)
def test_measured_order(name):
    """On x' = cos(4 t) * x, whose solution is known, half the step gives 2^-order of the error."""

    def error(steps):
        times = torch.linspace(1, 0.2, steps + 1, dtype=torch.float64)
        start = torch.ones(1, dtype=torch.float64)
        end = find(name)(lambda x, t: x - t * math.cos(4 * t) * x, start, None, times)
        return abs(float(end) - math.exp((math.sin(0.8) - math.sin(4)) / 4))

    errors = [error(n) for n in (40, 80, 160)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, ORDERS[name], atol=0.1)


def test_heun_leaves_no_more_noise_than_euler():
    """On the stock grid, whose last time but one lies below the smallest divisor."""
    data, noise = torch.rand(2, 1, 3, 4, 4) * 2 - 1
    for steps in (2, 8, 20):
        left = [
            float(
                (find(name)(lambda x, t: data, noise, None, euler_times(steps)) - data).abs().max()
            )
            for name in ORDERS
        ]
        assert left[1] <= left[0] + 1e-6 < 0.01


def test_heun_asks_twice_per_step_but_the_last():
    asked = []

    def denoise(x, time):
        asked.append(time)
        return x

    heun(denoise, torch.zeros(1), None, torch.tensor([1.0, 0.5, 0.0]))
    assert asked == [1.0, 0.5, 0.5]


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_are_refused(steps):
    with pytest.raises(ValueError, match=rf"steps must be at least 1\. Got {steps} instead\."):
        euler_times(steps)


def test_ancestral_steps_draw_from_the_distribution_of_the_data():
    """Data are N(m, s^2): the best guess of x_0 is known, and so is what must come out."""
    mean, deviation = 0.2, 0.1

    def denoise(x, time):
        variance = (1 - time) ** 2 * deviation**2 + time**2
        gain = (1 - time) * deviation**2 / variance
        return mean + gain * (x - (1 - time) * mean)

    generator = torch.Generator().manual_seed(0)

    def fresh():
        return torch.randn(20_000, generator=generator)

    drawn = ancestral(denoise, fresh(), fresh, euler_times(200))
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.01)
    assert float(drawn.std()) == pytest.approx(deviation, rel=0.1)


def test_ancestral_steps_hold_pictures_inside_the_range():
    noise = torch.randn(50)
    drawn = ancestral(lambda x, t: 5 * x, noise, lambda: torch.randn(50), euler_times(10))
    assert float(drawn.abs().max()) <= 1


@pytest.mark.parametrize("name", ["ancestral", *ORDERS])
def test_a_walk_may_start_late(name):
    """What is left of the noise is the share that the stock divisor of at least 0.05 leaves."""
    data, noise = torch.rand(2, 1, 3, 4, 4) * 2 - 1
    times = torch.tensor([0.3, 0.2, 0.1, 0.05, 0.0])
    drawn = find(name)(
        lambda x, t: data, 0.7 * data + 0.3 * noise, torch.zeros_like(data).clone, times
    )
    torch.testing.assert_close(drawn, data, atol=1e-6, rtol=0)
