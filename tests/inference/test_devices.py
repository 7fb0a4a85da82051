"""Where a model that is opened is put."""

import pytest
import torch
from random_networks import multimodal

import tgp_multimodal as tgp
from tgp_multimodal import export
from tgp_multimodal.inference.devices import default_device


def test_a_name_comes_before_the_variable_and_that_before_the_gpu(monkeypatch):
    monkeypatch.delenv("TGP_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_device() == torch.device("cuda")
    monkeypatch.setenv("TGP_DEVICE", "cpu")
    assert default_device() == torch.device("cpu")
    assert default_device("meta") == torch.device("meta")
    monkeypatch.setenv("TGP_DEVICE", "")
    assert default_device() == torch.device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "xpu"])
def test_a_device_that_is_not_there_is_named(monkeypatch, name):
    monkeypatch.setenv("TGP_DEVICE", name)
    with pytest.raises(ValueError, match=rf"TGP_DEVICE must be a device .* Got {name} instead"):
        default_device()
    with pytest.raises(ValueError, match=rf"^device must be a device .* Got {name} instead"):
        default_device(name)


def test_a_model_is_where_it_is_wanted(tokenizer, tmp_path, monkeypatch):
    export.save(tmp_path, multimodal(tokenizer.vocabulary), tokenizer, {}, "")
    monkeypatch.setenv("TGP_DEVICE", "gpu")
    model = tgp.load(tmp_path, device="cpu")
    assert next(model.network.parameters()).device.type == "cpu"
    with pytest.raises(ValueError, match="TGP_DEVICE"):
        tgp.load(tmp_path)
