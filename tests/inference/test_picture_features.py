"""Features of pictures: by hand, in any batch, of any kind of picture."""

import numpy as np
import pytest
import torch
from PIL import Image
from random_networks import multimodal

from tgp_multimodal.inference import picture_inputs
from tgp_multimodal.inference.picture_features import (
    View,
    feature_count,
    features,
    features_of_views,
    pooled,
    usual,
    views,
)
from tgp_multimodal.models.diffusion_head import DiffusionHead

TOLERANCE = 3e-5


@pytest.fixture(scope="module")
def network(tokenizer):
    return multimodal(tokenizer.vocabulary)


@torch.no_grad()
def test_features_by_hand(network, tokenizer):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found = features(network, tokenizer, [pixels], View(2, 0.1, units=False))[0]
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    null = network.text(torch.tensor([[tokenizer.bos]]))
    text = network.head.text_keys_values(null)
    state, _ = network.head.states(x, torch.tensor([0.1]), text, None, 2)
    grid = state[0].view(4, 4, -1)
    quarters = torch.stack(
        [grid[y : y + 2, z : z + 2].mean((0, 1)) for y in (0, 2) for z in (0, 2)]
    )
    width = network.head.width
    np.testing.assert_allclose(found[:width], state[0].mean(0), atol=TOLERANCE)
    np.testing.assert_allclose(found[width:].reshape(width, 4).T, quarters, atol=TOLERANCE)
    fine = features(network, tokenizer, [pixels], View(2, 0.1, 4, False))[0]
    np.testing.assert_allclose(fine[:width], found[:width], atol=TOLERANCE)
    places = fine[width:].reshape(width, 16).T  # as many cells as patches
    np.testing.assert_allclose(places, state[0], atol=TOLERANCE)


@torch.no_grad()
def test_units_are_what_the_last_projection_of_a_block_reads(network, tokenizer):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    block = network.head.blocks[1]
    seen_there = []
    hook = block.down_proj.register_forward_pre_hook(lambda _, given: seen_there.append(given[0]))
    found = features(network, tokenizer, [pixels], View(2, 0.1))[0]
    hook.remove()
    (unit,) = seen_there
    width = block.down_proj.in_features
    assert found.shape == (5 * width,)
    np.testing.assert_allclose(found[:width], unit[0].mean(0), atol=TOLERANCE)


@torch.no_grad()
def test_fine_cells_are_means_of_their_patches():
    head = DiffusionHead(64, 48, 3, 3, patch=4, size=32)  # 8 x 8 patches
    state = torch.randn(2, 64, 48)
    fine = View(1, 0.2, 4, units=False)
    found = pooled((state, None), head, fine)
    assert found.shape == (2, feature_count(head, fine))
    grid = state.view(2, 8, 8, 48)
    corners = [(y, x) for y in range(0, 8, 2) for x in range(0, 8, 2)]
    cells = [grid[:, y : y + 2, x : x + 2].mean((1, 2)) for y, x in corners]
    torch.testing.assert_close(found[:, 48:].view(2, 48, 16), torch.stack(cells, dim=2))


def test_features_of_pictures_of_any_kind(network, tokenizer):
    generator = np.random.default_rng(0)
    pictures = [
        generator.integers(0, 256, shape, dtype=np.uint8)
        for shape in [(16, 16, 3), (28, 28), (8, 40, 1), (64, 64, 3)]
    ]
    many = features(network, tokenizer, pictures)
    width = feature_count(network.head, usual(network.head))
    assert many.shape == (4, width)
    for size in (1, 3):
        again = features(network, tokenizer, pictures, batch=size)
        np.testing.assert_allclose(again, many, atol=TOLERANCE)
    grey = pictures[1]
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_allclose(
        features(network, tokenizer, [grey]), features(network, tokenizer, [colour])
    )
    assert features(network, tokenizer, []).shape == (0, width)


def test_views_of_one_pass_are_those_of_single_passes(network, tokenizer):
    generator = np.random.default_rng(1)
    pictures = [generator.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(5)]
    wanted = views(network.head)
    assert len(set(wanted)) == len({str(v) for v in wanted}) == len(wanted) > 4
    assert {(v.grid, v.units) for v in wanted} == {(2, True), (2, False), (4, True)}
    deep = DiffusionHead(64, 48, 10, 3, patch=4, size=16)
    assert {v.grid for v in views(deep) if v.block == usual(deep).block} == {2, 4}
    assert {v.grid for v in views(DiffusionHead(64, 48, 3, 3, patch=8, size=16))} == {2}
    together = features_of_views(network, tokenizer, pictures, wanted, batch=3)
    for view, found in zip(wanted, together, strict=True):
        alone = features(network, tokenizer, pictures, view)
        np.testing.assert_allclose(found, alone, atol=TOLERANCE)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((16, 16, 3)), np.zeros((16, 16, 4), np.uint8), np.zeros(16, np.uint8)],
)
def test_what_is_no_picture_is_refused(network, tokenizer, picture):
    with pytest.raises(
        ValueError,
        match=r"a picture must be unsigned bytes",
    ):
        features(network, tokenizer, [picture])


def test_blocks_that_do_not_exist_are_refused(network, tokenizer):
    with pytest.raises(ValueError, match=r"block must be between 1 and 3\. Got 4 instead\."):
        features(network, tokenizer, [], View(4, 0.1))
    with pytest.raises(ValueError, match=r"block must be between 1 and 3\. Got 0 instead\."):
        features(network, tokenizer, [], View(0, 0.1))
    assert len(features(network, tokenizer, [], View(0, 0.1, units=False))) == 0


def test_any_picture_is_seen_as_training_pictures_are():
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, 16:32] = 255
    assert (picture_inputs.pixels(wide, 16) == 1).all()  # the centred square
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert (picture_inputs.pixels(clear, 16) == 1).all()  # nothing is white
    deep = Image.fromarray(np.full((16, 16), 65535, np.uint16))
    assert (picture_inputs.pixels(deep, 16) == 1).all()
    with pytest.raises(ValueError, match=r"Got uint8 of shape \(0, 5, 3\) instead"):
        picture_inputs.pixels(np.zeros((0, 5, 3), np.uint8), 16)
    with pytest.raises(ValueError, match=r"a picture must be a PIL image or .* Got str instead"):
        picture_inputs.pixels("photo.png", 16)
