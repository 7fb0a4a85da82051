"""Runs that start from an export: its parts, at another resolution, with new parts."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from random_networks import (
    diffusion_head,
    language_model,
    multimodal,
    text_transformer,
    with_tower,
)

from tgp_multimodal import export
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.prepared import write_pictures
from tgp_multimodal.data.records import Pair
from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.image_tower import ImageTower
from tgp_multimodal.models.networks import DualEncoder, LanguageModel, Multimodal, describe
from tgp_multimodal.training.datamodules import StreamData
from tgp_multimodal.training.start import network_settings, start, tokenizer_digest


def test_every_part_is_taken_also_at_another_resolution(tokenizer, tmp_path):
    trained = multimodal(tokenizer.vocabulary)
    export.save(tmp_path / "export", trained, tokenizer, {}, "")
    fresh = Multimodal(
        text_transformer(tokenizer.vocabulary, context=32, seed=7), diffusion_head(size=24, seed=8)
    )
    assert start(fresh, tmp_path / "export") == ["text", "head"]
    assert fresh.head.size == 24
    for (name, mine), theirs in zip(fresh.named_parameters(), trained.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
        assert mine.requires_grad


def test_a_new_part_stays_fresh(tokenizer, tmp_path):
    export.save(tmp_path / "export", language_model(tokenizer.vocabulary), tokenizer, {}, "")
    fresh = multimodal(tokenizer.vocabulary, seed=5)
    before = {k: v.clone() for k, v in fresh.head.state_dict().items()}
    assert start(fresh, tmp_path / "export") == ["text"]
    assert all(torch.equal(before[k], v) for k, v in fresh.head.state_dict().items())


def test_another_shape_is_named(tokenizer, tmp_path):
    export.save(tmp_path / "export", multimodal(tokenizer.vocabulary), tokenizer, {}, "")
    other = Multimodal(
        text_transformer(tokenizer.vocabulary), DiffusionHead(64, 48, 2, 3, 2.5, patch=4, size=16)
    )
    with pytest.raises(
        ValueError, match=r"init_args\.head must have the .*: depth: 3\. Got depth: 2"
    ):
        start(other, tmp_path / "export")


def test_a_tower_of_another_size_is_named(tokenizer, tmp_path):
    def towered(size):
        tower = ImageTower(text_width=64, width=32, depth=1, heads=2, patch=4, size=size)
        return DualEncoder(text_transformer(tokenizer.vocabulary), tower)

    export.save(tmp_path / "export", towered(16).eval(), tokenizer, {}, "")
    with pytest.raises(
        ValueError, match=r"init_args\.tower must have the .*: size: 16\. Got size: 24"
    ):
        start(towered(24), tmp_path / "export")


def test_data_of_another_tokenizer_are_refused(tokenizer, tmp_path):
    other = tokenizers.train(
        ["other words entirely", "and a few more of them"], tokenizer.vocabulary
    )
    assert other.digest != tokenizer.digest
    export.save(tmp_path / "export", language_model(tokenizer.vocabulary), tokenizer, {}, "")
    assert tokenizer_digest(tmp_path / "export") == tokenizer.digest
    other.save(tmp_path / "data" / "tokenizer")
    data = StreamData(str(tmp_path / "data"))
    module = SimpleNamespace(network=None, start_tokenizer=tokenizer.digest)
    data.trainer = SimpleNamespace(lightning_module=module)
    with pytest.raises(
        ValueError, match=r"data\.folder must be prepared with the tokenizer of model\.init_from"
    ):
        data.setup("fit")


def test_ids_of_another_size_are_refused_as_what_they_are(tokenizer, tmp_path):
    other = tokenizers.train(["other words entirely", "and a few more of them"] * 9, 340)
    other.save(tmp_path / "tokenizer")
    data = StreamData(str(tmp_path))
    module = SimpleNamespace(network=language_model(300), start_tokenizer=tokenizer.digest)
    data.trainer = SimpleNamespace(lightning_module=module)
    with pytest.raises(
        ValueError, match=r"data\.folder must be prepared with the tokenizer of model\.init_from"
    ):
        data.setup("fit")


@pytest.mark.parametrize("build", [multimodal, language_model, with_tower])
def test_the_network_of_an_export_is_a_section_of_a_config(build, tokenizer, tmp_path):
    trained = build(tokenizer.vocabulary)
    export.save(tmp_path / "export", trained, tokenizer, {}, "")
    assert _built(network_settings(tmp_path / "export")) == describe(trained)


def test_the_network_of_a_stock_folder_is_a_language_model(tokenizer, tmp_path):
    trained = multimodal(tokenizer.vocabulary)
    export.save(tmp_path / "export", trained, tokenizer, {}, "")
    (tmp_path / "export" / "tgp.json").unlink()
    settings = network_settings(tmp_path / "export")
    assert _built(settings) == describe(LanguageModel(trained.text))
    fresh = language_model(tokenizer.vocabulary, seed=9)
    assert start(fresh, tmp_path / "export") == ["text"]
    assert torch.equal(fresh.text.norm.weight, trained.text.norm.weight)
    assert tokenizer_digest(tmp_path / "export") == tokenizer.digest


def _built(section):
    """What a section of a config says, as `describe` says it."""
    inner = {k: _built(v) if isinstance(v, dict) else v for k, v in section["init_args"].items()}
    return {"class": section["class_path"], **inner}


@pytest.mark.parametrize("content", ["{}", "broken"])
def test_a_tokenizer_of_others_equals_none_of_ours(content, tmp_path):
    assert tokenizer_digest(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text(content)
    assert len(tokenizer_digest(tmp_path)) == 64


def test_pictures_of_another_size_than_the_head_are_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    pairs = [Pair(np.zeros((32, 32, 3), np.uint8), "a dot", "dots", "")]
    write_pictures(tmp_path / "pictures", {"train": pairs}, [])
    data = StreamData(str(tmp_path), pictures={"longest": 8, "batch": 1})
    module = SimpleNamespace(network=multimodal(tokenizer.vocabulary))
    data.trainer = SimpleNamespace(lightning_module=module)
    with pytest.raises(ValueError, match=r"head\.init_args\.size must be 32, .* Got 16 instead"):
        data.setup("fit")
