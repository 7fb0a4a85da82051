"""Runs that start from an export: its parts, at another resolution, with new parts."""

import pytest
import torch
from random_networks import diffusion_head, language_model, multimodal, text_transformer

from tgp_multimodal import export
from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.networks import Multimodal
from tgp_multimodal.training.start import start


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
    with pytest.raises(ValueError, match=r"init_args\.head must have the shape of .*'depth': 3"):
        start(other, tmp_path / "export")
