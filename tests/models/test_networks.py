"""A network is rebuilt from its description."""

import json

import pytest
from random_networks import dual_encoder, language_model, multimodal, with_tower

from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.image_tower import ImageTower
from tgp_multimodal.models.networks import (
    DualEncoder,
    Multimodal,
    blocks,
    describe,
    differences,
    from_description,
)
from tgp_multimodal.models.text_transformer import TextTransformer


@pytest.mark.parametrize("build", [multimodal, language_model, dual_encoder, with_tower])
def test_description_builds_the_same_network(build):
    network = build()
    description = json.loads(json.dumps(describe(network)))  # plain data
    again = from_description(description)
    assert type(again) is type(network)
    assert describe(again) == description
    again.load_state_dict(network.state_dict())


def test_a_foreign_class_is_refused():
    with pytest.raises(ValueError, match=r"class must be one of .*Multimodal\. Got 'os' instead"):
        from_description({"class": "os"})


def test_head_must_fit_the_text():
    text = TextTransformer(320, 64, 1, 96, 4, 2)
    with pytest.raises(ValueError, match=r"text_width must equal text\.width=64\. Got 32 instead"):
        Multimodal(text, DiffusionHead(32, 48, 1, 3))


def test_tower_must_fit_the_text():
    text, tower = TextTransformer(320, 64, 1, 96, 4, 2), ImageTower(32, 48, 1, 3)
    for build in (DualEncoder, lambda t, w: Multimodal(t, DiffusionHead(64, 48, 1, 3), w)):
        with pytest.raises(ValueError, match=r"tower.text_width must equal text.width=64. Got 32"):
            build(text, tower)


def test_a_part_that_is_left_out_is_not_in_the_description():
    """So that descriptions of before there were towers are still those of the same networks."""
    network = multimodal()
    assert describe(network).keys() == {"class", "text", "head"}
    assert network.tower is None
    assert describe(with_tower())["tower"]["class"] == "ImageTower"


@pytest.mark.parametrize(
    ("build", "count"), [(language_model, 2), (multimodal, 5), (dual_encoder, 4), (with_tower, 7)]
)
def test_blocks_are_those_of_all_parts(build, count):
    assert len(blocks(build())) == count


def test_two_descriptions_differ_where_they_do():
    mine = {"class": "A", "text": {"class": "T", "depth": 3}, "head": {"class": "H"}}
    other = {"class": "A", "text": {"class": "T", "depth": 2}, "tower": {"class": "W"}}
    assert differences(mine, mine) == []
    assert differences(mine, other) == [
        ("text.depth", 3, 2), ("head", "H", None), ("tower", None, "W"),
    ]  # fmt: skip
