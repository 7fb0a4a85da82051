"""A size decides what its shipped config holds; larger networks have lower rates of AdamW."""

from pathlib import Path

import pytest
import torch
import yaml

from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.networks import Multimodal
from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.resources import shipped
from tgp_multimodal.training.sizes import SIZES, differences, rates, settings

REPOSITORY = Path(__file__).parent.parent.parent
# Millions of parameters: text transformer, head; docs/pretraining.md has the same table.
PARAMETERS = {
    "nano": (5.2, 4.9),
    "tiny": (12.6, 11.4),
    "small": (27.8, 25.6),
    "medium": (56.0, 56.4),
    "base": (110.1, 105.2),
}


def config(name):
    return yaml.safe_load(shipped("configs", f"{name}.yaml").read_text("utf-8"))


@pytest.mark.parametrize("name", SIZES)
def test_the_shipped_config_is_the_size(name):
    assert differences(name, config(name)["model"]) == []


@pytest.mark.parametrize("name", SIZES)
def test_a_size_has_as_many_parameters_as_the_documents_say(name, monkeypatch):
    parts = settings(name)["network"]["init_args"]
    for part in (TextTransformer, DiffusionHead):
        monkeypatch.setattr(part, "reset_parameters", lambda self: None)
    with torch.device("meta"):
        text = TextTransformer(**parts["text"]["init_args"])
        head = DiffusionHead(**parts["head"]["init_args"])
        Multimodal(text, head)
    found = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (text, head)]
    assert tuple(round(n, 1) for n in found) == PARAMETERS[name]
    page = (REPOSITORY / "docs" / "pretraining.md").read_text("utf-8")
    size = SIZES[name]
    shape = f"{size.width} / {size.depth} / {size.feed_forward} / {size.heads}:"
    row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
    assert shape in row
    assert f"{PARAMETERS[name][0]}M | {PARAMETERS[name][1]}M" in row


def test_rates_follow_the_width():
    assert rates(256) == {"muon_lr": 0.02, "adamw_lr": 0.003, "embedding_lr": 0.01}
    assert rates(1024) == {"muon_lr": 0.02, "adamw_lr": 0.0015, "embedding_lr": 0.005}


def test_what_is_set_otherwise_is_told():
    model = config("small")["model"]
    model["optimizer"]["muon_lr"] = 0.01
    model["network"]["init_args"]["text"]["init_args"]["depth"] = 9
    assert differences("small", model) == [
        "model.network.init_args.text.init_args.depth 9 (8)",
        "model.optimizer.muon_lr 0.01 (0.02)",
    ]
    del model["network"]["init_args"]["head"]
    assert len(differences("small", model)) == 2


def test_a_size_that_is_none_is_named():
    with pytest.raises(ValueError, match=r"size must be one of nano, .*, base. Got huge instead."):
        settings("huge")
