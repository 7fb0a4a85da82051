"""The picture's side of the joint space is open_clip's tower, and nobody else pays for it."""

import math
import subprocess
import sys

import pytest
import torch
from random_networks import image_tower

from tgp_multimodal.models.image_tower import ImageTower, vision_transformer


def pictures(count=3, size=16):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(3)) * 2 - 1


@torch.no_grad()
def test_the_weights_are_those_of_an_open_clip_checkpoint():
    tower = image_tower()
    stock = vision_transformer()(16, 4, 48, 2, 3, 4.0, output_dim=64, pool_type="avg").eval()
    names = {k.removeprefix("visual."): v for k, v in tower.state_dict().items()}
    scalars = {names.pop("logit_scale").shape, names.pop("logit_bias").shape}
    assert scalars == {torch.Size([])}
    stock.load_state_dict(names)
    vector_BD = tower(pictures())
    assert torch.equal(vector_BD, stock(pictures()))
    assert vector_BD.shape == (3, 64)
    assert vector_BD.std(dim=0).min() > 0.01


@torch.no_grad()
def test_a_picture_s_vector_depends_on_that_picture_alone():
    tower, all_of_them = image_tower(), pictures()
    together = tower(all_of_them)
    for index in range(3):
        alone = tower(all_of_them[index : index + 1])[0]
        torch.testing.assert_close(alone, together[index], atol=1e-5, rtol=0)


@torch.no_grad()
def test_logits_are_scaled_cosines_and_the_scale_has_an_end():
    tower = ImageTower(64, 48, 1, 3, patch=8, size=16)
    one, other = torch.eye(64)[:2], torch.eye(64)[1:4]
    expected = torch.tensor([[-10.0, -10, -10], [0, -10, -10]])
    torch.testing.assert_close(tower.logits(one, other), expected)
    tower.logit_scale.fill_(math.log(1000))
    tower.logit_bias.zero_()
    torch.testing.assert_close(tower.logits(one, other).max(), torch.tensor(100.0))


@torch.no_grad()
def test_logits_are_float32_in_a_run_of_bfloat16():
    tower = image_tower()
    vectors = torch.nn.functional.normalize(tower(pictures(6)), dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        low = tower.logits(vectors, vectors)
    assert torch.equal(low, tower.logits(vectors, vectors))


def test_pictures_and_shapes_that_do_not_fit_are_named():
    tower = image_tower()
    with pytest.raises(ValueError, match=r"must be of tower.size=16, .* Got 32 x 16 instead"):
        tower(torch.zeros(1, 3, 32, 16))
    with pytest.raises(ValueError, match=r"width must be a multiple of heads=5. Got 48 instead"):
        ImageTower(64, 48, 1, 5)
    with pytest.raises(ValueError, match=r"size must be a multiple of patch. Got size=16, patch=5"):
        ImageTower(64, 48, 1, 3, patch=5, size=16)


def test_who_builds_no_tower_does_not_import_open_clip():
    program = """
import sys, torch
from tgp_multimodal.models.networks import from_description
description = {"class": "LanguageModel", "text": {"class": "TextTransformer", "depth": 1}}
from_description(description)
assert not {"open_clip", "timm", "torchvision"} & sys.modules.keys()
with torch.device("meta"):
    from_description({"class": "ImageTower", "depth": 1})
import open_clip
assert open_clip.transformer.get_2d_sincos_pos_embed(8, 2).any()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_scale_at_its_limit_is_held_and_can_fall_again():
    held = image_tower()
    with torch.no_grad():
        held.logit_scale.fill_(6.0)
    scale = held.scale()
    assert scale.item() == pytest.approx(100)
    scale.backward()
    assert held.logit_scale.grad.item() == pytest.approx(100)
