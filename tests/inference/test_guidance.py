"""Guidance: what the network is asked, and what becomes of its answers."""

import numpy as np
import pytest
import torch
from random_networks import multimodal

from tgp_multimodal.inference import image
from tgp_multimodal.inference.drawing import Drawing
from tgp_multimodal.inference.guidance import guided, rescaled

PROMPTS = ["a red circle", "three green squares left of a blue triangle", "x"]


@pytest.fixture(scope="module")
def network(tokenizer):
    return multimodal(tokenizer.vocabulary)


@pytest.fixture
def asked(network, monkeypatch):
    """Time and number of the pictures of each look of the network."""
    seen = []
    real = network.head.denoise

    def denoise(pixels_BCYX, time_B, text, mask_BL):
        seen.append((round(float(time_B[0]), 3), len(pixels_BCYX)))
        return real(pixels_BCYX, time_B, text, mask_BL)

    monkeypatch.setattr(network.head, "denoise", denoise)
    return seen


def test_outside_the_interval_half_of_the_work_is_left_out(network, tokenizer, asked):
    drawing = Drawing(5, sampler="euler", guidance_from=0.2, guidance_to=0.8)
    image.draw(network, tokenizer, PROMPTS, drawing)
    assert asked == [(1.0, 3), (0.75, 6), (0.501, 6), (0.251, 6), (0.001, 3)]


@torch.inference_mode()
def test_inside_it_is_guidance_and_outside_the_prompt_alone(network, tokenizer):
    x = torch.randn(3, 3, 16, 16)
    drawing = Drawing(guidance=3.0, guidance_from=0.2, guidance_to=0.8)
    texts = image.read_prompts(network, tokenizer, [*PROMPTS, ""])
    denoise = guided(network.head, *texts, drawing)
    whole = guided(network.head, *texts, Drawing(guidance=3.0))
    plain = guided(network.head, *image.read_prompts(network, tokenizer, PROMPTS), Drawing(1, 1.0))
    for time in (0.2, 0.5, 0.8, float(torch.tensor(0.8))):  # times are float32
        torch.testing.assert_close(denoise(x, time), whole(x, time))
        assert (denoise(x, time) - plain(x, time)).abs().max() > 0.01
    for time in (0.19, 0.81, 1.0):
        torch.testing.assert_close(denoise(x, time), plain(x, time), atol=1e-5, rtol=1e-5)


def test_the_whole_interval_is_the_default(network, tokenizer):
    first, same, other = (
        image.draw(network, tokenizer, PROMPTS, Drawing(4, sampler="euler", **interval))
        for interval in ({}, {"guidance_from": 0.0, "guidance_to": 1.0}, {"guidance_to": 0.5})
    )
    assert (first == same).all()
    assert (first != other).any()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_rescale_by_hand(share):
    guided_BCYX, prompt_BCYX = 4 * torch.randn(2, 3, 8, 8) + 1, torch.randn(2, 3, 8, 8)
    found = rescaled(guided_BCYX, prompt_BCYX, share)
    for after, before, drawn in zip(guided_BCYX, prompt_BCYX, found, strict=True):
        spread, aim = np.std(after.numpy(), ddof=1), np.std(before.numpy(), ddof=1)
        expected = after.numpy() * (1 - share + share * aim / spread)
        np.testing.assert_allclose(drawn.numpy(), expected, rtol=1e-5)
    if share == 1:
        torch.testing.assert_close(found.std((1, 2, 3)), prompt_BCYX.std((1, 2, 3)))


@pytest.mark.parametrize(
    "drawing",
    [
        Drawing(4, negative_prompt="a blue triangle"),
        Drawing(4, guidance_rescale=0.7),
        Drawing(4, guidance_from=0.3, guidance_to=0.7, sampler="unipc"),
        Drawing(4, size=(8, 20), sampler="dpm"),
    ],
)
def test_a_picture_depends_on_its_prompt_and_seed_alone(network, tokenizer, drawing):
    together = image.draw(network, tokenizer, PROMPTS, drawing).astype(int)
    for index, prompt in enumerate(PROMPTS):
        alone = image.draw(network, tokenizer, [prompt], drawing._replace(seed=index))
        assert np.abs(alone[0] - together[index]).max() <= 1  # rounding
    plain = image.draw(network, tokenizer, PROMPTS, Drawing(4, size=drawing.size))
    assert (plain != together).any()


@pytest.mark.parametrize("sampler", ["dpm", "unipc"])
def test_many_steps_of_any_sampler_draw_one_picture(network, tokenizer, sampler):
    """On the same network the walks of all deterministic samplers end at the same picture."""

    def walked(sampler, steps):
        drawing = Drawing(steps, 1.0, sampler=sampler)
        noise = image.own_noise([3], 16, 16)
        return image.draw_pixels(network, tokenizer, ["a red circle"], noise, drawing)

    aim = walked("euler", 400)
    errors = [float((walked(sampler, steps) - aim).abs().mean()) for steps in (6, 200)]
    coarse = float((walked("euler", 6) - aim).abs().mean())
    assert errors[1] < 0.1 * coarse
    assert errors[1] < errors[0]
