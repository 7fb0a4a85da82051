"""Drawing: batches, guidance, seeds, sizes."""

import numpy as np
import pytest
import torch
from random_networks import multimodal

from tgp_multimodal.diffusion.samplers import SAMPLERS, euler_times, find
from tgp_multimodal.inference import image
from tgp_multimodal.inference.drawing import Drawing

PROMPTS = ["a red circle", "", "three green squares left of a blue triangle", "x", "a red circle"]
TOLERANCE = 3e-5  # guidance multiplies rounding


@pytest.fixture(scope="module")
def network(tokenizer):
    return multimodal(tokenizer.vocabulary)


@torch.no_grad()
def by_hand(network, tokenizer, prompt, seed, drawing):
    """One picture, the two passes of guidance one after the other, keys and values every time."""
    generator = torch.Generator().manual_seed(seed)
    states = [
        network.text(torch.tensor([tokenizer.encode(p, bos=True)[:64]]))
        for p in (prompt, drawing.negative_prompt)
    ]

    def denoise(x, time):
        with_prompt, without = (network.head(x, torch.tensor([time]), s) for s in states)
        return without + drawing.guidance * (with_prompt - without)

    def noise():
        return torch.randn((1, 3, 16, 16), generator=generator)

    return find(drawing.sampler)(denoise, noise(), noise, euler_times(drawing.steps))[0]


@pytest.mark.parametrize(
    "drawing",
    [
        Drawing(4, 4.0),
        Drawing(4, 1.0, sampler="euler"),
        Drawing(3, 2.0, 0, 16, "heun"),
        Drawing(4, 3.0, 0, (16, 16), "dpm"),
        Drawing(4, 3.0, 0, 16, "euler", "a blue triangle"),
    ],
)
def test_batched_guidance_is_guidance(network, tokenizer, drawing):
    noise = image.own_noise(range(len(PROMPTS)), 16, 16)
    pixels = image.draw_pixels(network, tokenizer, PROMPTS, noise, drawing)
    for seed, prompt in enumerate(PROMPTS):
        expected = by_hand(network, tokenizer, prompt, seed, drawing)
        torch.testing.assert_close(pixels[seed], expected, atol=TOLERANCE, rtol=0)


def test_a_picture_depends_on_its_prompt_and_seed_alone(network, tokenizer):
    drawing = Drawing(steps=4, seed=3)
    pictures = image.draw(network, tokenizer, PROMPTS, drawing)
    assert pictures.shape == (5, 16, 16, 3)
    assert pictures.dtype == np.uint8
    for size in (1, 2):
        again = image.draw(network, tokenizer, PROMPTS, drawing, batch=size).astype(int)
        assert np.abs(again - pictures).max() <= 1  # rounding
    backwards = image.draw(network, tokenizer, PROMPTS[::-1], drawing, seeds=[7, 6, 5, 4, 3])
    assert np.abs(backwards[::-1].astype(int) - pictures).max() <= 1
    assert (pictures[0] != pictures[4]).any()  # the same prompt, another seed


def test_prompt_guidance_steps_and_sampler_matter(network, tokenizer):
    base = Drawing(steps=4)
    first = image.draw(network, tokenizer, ["a red circle"], base)
    for prompt, drawing in [
        ("a blue circle", base),
        ("a red circle", base._replace(guidance=1.0)),
        ("a red circle", base._replace(steps=5)),
        ("a red circle", base._replace(sampler="euler")),
        ("a red circle", base._replace(sampler="heun")),
        ("a red circle", base._replace(seed=1)),
    ]:
        assert (image.draw(network, tokenizer, [prompt], drawing) != first).any()


@pytest.mark.parametrize(("size", "shape"), [(24, (24, 24)), ((8, 20), (8, 20)), (None, (16, 16))])
def test_other_sizes(network, tokenizer, size, shape):
    pictures = image.draw(network, tokenizer, ["x"], Drawing(2, size=size))
    assert pictures.shape == (1, *shape, 3)


def test_own_seeds_must_fit(network, tokenizer):
    with pytest.raises(ValueError, match=r"one for each of 2 prompts\. Got 1 instead"):
        image.draw(network, tokenizer, ["x", "y"], Drawing(2), seeds=[1])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_progress_rises_to_the_number_of_pictures(network, tokenizer, sampler):
    told = []
    drawing = Drawing(steps=3, sampler=sampler)
    image.draw(network, tokenizer, PROMPTS, drawing, batch=2, progress=told.append)
    assert told == sorted(told)
    assert {0, 2, 4, 5} <= {round(t, 2) for t in told}
    assert len(told) >= 3 * (3 + 1)


def test_long_prompts_are_cut(network, tokenizer):
    long = "a red circle and " * 40
    _, mask_BL = image.read_prompts(network, tokenizer, [long, "x"])
    assert mask_BL.sum(1).tolist() == [64, 1 + len(tokenizer.encode("x"))]


def test_bytes_by_hand():
    pixels = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert image.to_bytes(pixels)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_no_prompt_is_refused(network, tokenizer):
    with pytest.raises(ValueError, match=r"prompts must hold at least one prompt\. Got none"):
        image.draw(network, tokenizer, [], Drawing())
