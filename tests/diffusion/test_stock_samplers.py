"""The samplers of diffusers in our signature."""

import math
import subprocess
import sys

import pytest
import torch

from tgp_multimodal.diffusion.samplers import SAMPLERS, euler_times, find

NAMES = ("dpm", "unipc")


def wave(x, time):
    """A network whose velocity is cos(4 t) x."""
    return x - max(time, 0.05) * math.cos(4 * time) * x


@pytest.mark.parametrize("name", NAMES)
def test_they_converge_to_the_known_solution(name):
    start = torch.ones(1, 1, 1, 1)
    end = math.exp(-math.sin(4) / 4)
    errors = [
        abs(float(find(name)(wave, start, None, euler_times(steps))) - end) for steps in (5, 100)
    ]
    euler_error = abs(float(find("euler")(wave, start, None, euler_times(5))) - end)
    assert errors[1] < 4e-3 < errors[0] < euler_error / 4


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_one_look_and_time_falls(name):
    asked = []

    def denoise(x, time):
        asked.append(time)
        return wave(x, time)

    find(name)(denoise, torch.randn(2, 3, 4, 4), None, euler_times(9))
    assert len(asked) == 9
    assert asked == sorted(set(asked), reverse=True)
    assert asked[0] == 0.999
    assert all(round(1000 * t) == 1000 * t for t in asked)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("begin", [1.0, 0.4, 0.01])
def test_a_sure_network_is_reached_from_any_start(name, begin):
    """The stock divisor of at least 0.05 leaves a share of 1/e of the last 0.05 of noise."""
    data, noise = torch.randn(2, 2, 3, 4, 4)
    start = (1 - begin) * data + begin * noise
    rest = 0.05 / math.e * float((noise - data).abs().max())
    for steps in (1, 2, 20):
        drawn = find(name)(lambda x, t: data, start, None, begin * euler_times(steps))
        torch.testing.assert_close(drawn, data, atol=1.1 * rest, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_walk_remembers_nothing_of_the_one_before(name):
    start = torch.randn(1, 3, 4, 4)
    first, again = (find(name)(wave, start, None, euler_times(4)) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_a_batch_are_walked_alone(name):
    start = torch.randn(3, 3, 4, 4)
    together = find(name)(lambda x, t: x.tanh(), start, None, euler_times(6))
    for index in range(3):
        alone = find(name)(lambda x, t: x.tanh(), start[index : index + 1], None, euler_times(6))
        torch.testing.assert_close(together[index : index + 1], alone)


def test_diffusers_is_loaded_only_for_its_own_samplers():
    program = """
import sys, torch
import tgp_multimodal.inference.image
from tgp_multimodal.diffusion.samplers import SAMPLERS, euler_times, find
for name in ("ancestral", "euler", "heun"):
    find(name)(lambda x, t: x, torch.ones(1), lambda: torch.ones(1), euler_times(2))
assert set(SAMPLERS) == {"ancestral", "euler", "heun", "dpm", "unipc"}
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = done.stdout.split()
    assert "tgp_multimodal.diffusion.samplers" in loaded, done.stderr
    assert not {"diffusers", "tgp_multimodal.diffusion.stock_samplers"} & set(loaded)


def test_every_name_is_a_sampler():
    for name in SAMPLERS:
        pixels = find(name)(lambda x, t: x, torch.zeros(1, 3, 4, 4), torch.zeros, euler_times(1))
        assert pixels.shape == (1, 3, 4, 4)
