"""Contrast of two views of a picture: what a view is, what is learned from it, what is not read."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_networks import multimodal
from taking_turns import of_two

from tgp_multimodal.data.records import CaptionedImages
from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.networks import Multimodal
from tgp_multimodal.objectives.picture_contrast import PictureContrast, crop_view


def batch(count=6, seed=0, length=5):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)
    pixels = pixels.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)  # patches of one colour
    token_BL = torch.randint(10, 300, (count, length), generator=generator)
    token_BL[:, 0] = 1
    return CaptionedImages(pixels, token_BL, torch.ones(count, length, dtype=torch.bool))


def draws(count=2, **given):
    names = ["side", "stretch", "across", "down", "mirror", "bright", "strong", "vivid", "grey"]
    return torch.tensor([[given.get(name, 0.5) for name in names]] * count)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_all_of_a_picture_in_its_colours_is_the_picture(pictures):
    same = crop_view(pictures, draws(mirror=0.7), 1.0, 0.0)
    torch.testing.assert_close(same, pictures, atol=1e-5, rtol=0)
    turned = crop_view(pictures, draws(mirror=0.2), 1.0, 0.0)
    torch.testing.assert_close(turned, pictures.flip(3), atol=1e-5, rtol=0)


def test_the_smallest_crop_is_the_enlarged_part_of_the_picture(pictures):
    quarter = crop_view(pictures, draws(side=0.0, across=0.0, down=0.999999), 0.25, 0.0)
    corner = pictures[:, :, 8:, :8]  # at the left, at the bottom
    whole = torch.nn.functional.interpolate(corner, scale_factor=2, mode="bilinear")
    inside = (slice(None), slice(None), slice(2, 14), slice(2, 14))  # at its edge it sees beyond it
    torch.testing.assert_close(quarter[inside], whole[inside], atol=1e-4, rtol=0)


def test_colours_change_as_they_say(pictures):
    calm = pictures * 0.4
    lighter = crop_view(calm, draws(bright=1.0), 1.0, 0.3)
    torch.testing.assert_close(lighter, calm + 0.3, atol=1e-5, rtol=0)
    grey = crop_view(calm, draws(grey=0.1), 1.0, 0.3)
    assert (grey - grey.mean(dim=1, keepdim=True)).abs().max() < 1e-6
    flat = crop_view(calm, draws(strong=0.0), 1.0, 0.3)
    torch.testing.assert_close(flat.std(), 0.7 * calm.std(), atol=2e-2, rtol=0)


def test_a_look_is_the_same_in_any_arithmetic(pictures):
    draw = torch.rand(2, 9, generator=torch.Generator().manual_seed(1))
    plain = crop_view(pictures, draw, 0.3, 0.3)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(crop_view(pictures, draw, 0.3, 0.3), plain)


@given(st.floats(0.05, 1.0), st.floats(0, 1), st.floats(0, 1))
def test_no_crop_is_smaller_than_the_smallest(smallest, side, stretch):
    """Seen on a picture whose brightness is its place."""
    ramp = torch.linspace(-1, 1, 64)
    place = torch.stack((ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)))
    seen = crop_view(place[None], draws(1, side=side, stretch=stretch, mirror=0.9), smallest, 0.0)[
        0
    ]
    wide, high = seen[0, 32].max() - seen[0, 32].min(), seen[1, :, 32].max() - seen[1, :, 32].min()
    assert wide * high / 4 >= smallest * 0.9


def test_letters_need_not_be_mirrored(pictures):
    same = crop_view(pictures, draws(mirror=0.0), 1.0, 0.0, mirrors=0.0)
    torch.testing.assert_close(same, pictures, atol=1e-5, rtol=0)


@given(st.integers(0, 2**31), st.floats(0.05, 1.0), st.floats(0.0, 0.5))
def test_any_look_is_a_picture(seed, smallest, colours):
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(3, 3, 8, 8, generator=generator) * 2 - 1
    seen = crop_view(pictures, torch.rand(3, 9, generator=generator), smallest, colours)
    assert seen.shape == pictures.shape
    assert seen.abs().max() <= 1 + 1e-5


def test_looks_at_one_picture_come_to_be_known():
    """As they do not by denoising alone."""
    data, found = batch(24), {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        head = DiffusionHead(64, 48, 3, 3, 2.5, patch=4, size=16)
        network, objective = Multimodal(multimodal().text, head), PictureContrast(weight)
        optimizer = torch.optim.AdamW(network.head.parameters(), 0.003)
        shares = []
        for step in range(60):
            loss = objective.loss(network, data, 0.0, step)
            optimizer.zero_grad()
            loss.value.backward()
            optimizer.step()
            shares.append(float(loss.parts["found"]))
        found[weight] = np.mean(shares[-10:])
        assert set(loss.parts) == {"nats", "found", "value", "pixel_error"}
    assert found[1.0] > found[0.0] + 0.1, found


def test_captions_are_not_read_and_the_text_learns_nothing():
    network, data = multimodal().requires_grad_(True), batch()
    value = PictureContrast().loss(network, data, 0.0, 3).value
    other = data._replace(token_BL=torch.cat((data.token_BL[:, :1], data.token_BL[:, 1:] + 5), 1))
    assert torch.equal(PictureContrast().loss(network, other, 0.0, 3).value, value)
    value.backward()
    assert all(p.grad is None for p in network.text.parameters())
    assert all(p.grad is not None for p in network.head.blocks.parameters())


def test_states_are_compared_behind_the_block_that_is_named():
    """Alone, the contrast moves the blocks up to it and none behind it."""
    network, data = multimodal().requires_grad_(True), batch()
    gradients = {}
    for weight in (0.0, 1.0):
        network.zero_grad()
        PictureContrast(weight, block=2).loss(network, data, 0.0, 0).value.backward()
        gradients[weight] = [b.up_proj.weight.grad.clone() for b in network.head.blocks]
    moved = [not torch.equal(a, b) for a, b in zip(*gradients.values(), strict=True)]
    assert moved == [True, True, False]
    two_thirds = PictureContrast().loss(network, data, 0.0, 0).value
    assert torch.equal(PictureContrast(block=2).loss(network, data, 0.0, 0).value, two_thirds)


def test_the_same_seed_draws_the_same():
    network, data = multimodal(), batch()
    first, again, other = (PictureContrast().loss(network, data, 0.0, s).value for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_two_processes_find_the_loss_and_the_gradient_of_one(monkeypatch):
    data, objective = batch(), PictureContrast(weight=1.0)
    network = multimodal().requires_grad_(True)
    alone = objective.loss(network, data, 0.0, 0)
    alone.value.backward()
    expected = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    halves = [CaptionedImages(*(x[rank::2] for x in data)) for rank in (0, 1)]
    values, gradients = of_two(objective, network, halves, monkeypatch)
    torch.testing.assert_close(sum(values) / 2, alone.value.detach(), atol=1e-5, rtol=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, r"temperature must be above 0\. Got 0 instead"),
        ({"smallest": 1.5}, r"smallest must be above 0 and at most 1\. Got 1\.5 instead"),
        ({"most_noise": 0}, r"most_noise must be above 0 and at most 1\. Got 0 instead"),
        ({"colours": 0.6}, r"colours must be between 0 and 0\.5\. Got 0\.6 instead"),
        ({"weight": -1}, r"weight must be between 0 and inf\. Got -1 instead"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PictureContrast(**settings)


def test_a_block_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"block must be between 1 and 3\. Got 4 instead"):
        PictureContrast(block=4).loss(multimodal(), batch(), 0.0, 0)
