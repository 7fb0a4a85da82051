"""The stock pipeline of our own export draws what we draw; what is no pipeline is said so."""

import inspect
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from random_networks import multimodal

from tgp_multimodal import export
from tgp_multimodal.adapters import make
from tgp_multimodal.adapters.diffusers_pipelines import DiffusersPipeline
from tgp_multimodal.adapters.native import Native
from tgp_multimodal.evaluation import cards, engine
from tgp_multimodal.evaluation.requests import Draw
from tgp_multimodal.inference.drawing import Drawing

REQUESTS = [Draw("a red circle", 3), Draw("", 4), Draw("two blue squares above a dot", 5)]


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "tiny" / "export"
    export.save(path, multimodal(tokenizer.vocabulary), tokenizer, {}, "")
    return path


@pytest.fixture(scope="module")
def stock(folder) -> DiffusersPipeline:
    adapter = make(f"diffusers:{folder}")
    assert isinstance(adapter, DiffusersPipeline)
    return adapter


def test_it_draws_what_the_native_adapter_draws(folder, stock):
    """To one level of 255, with the steps and the guidance that the pipeline has by default."""
    native = Native(folder)
    defaults = inspect.signature(stock.pipeline.__call__).parameters
    native.drawing = Drawing(
        steps=defaults["num_inference_steps"].default,
        guidance=defaults["guidance_scale"].default,
        sampler="euler",
    )
    ours, theirs = native.answer(REQUESTS), stock.answer(REQUESTS)
    for one, two in zip(ours, theirs, strict=True):
        assert one.shape == two.shape
        assert two.dtype == np.uint8
        assert np.abs(one.astype(int) - two).max() <= 1
        assert np.ptp(two) > 20  # no empty picture


def test_a_pipeline_that_cannot_batch_draws_one_by_one(folder, stock, monkeypatch):
    adapter, sizes = DiffusersPipeline(str(folder)), []
    pipeline = adapter.pipeline

    def alone(prompt, **settings):
        sizes.append(len(prompt))
        if len(prompt) > 1:
            raise ValueError("one prompt at a time")
        return pipeline(prompt=prompt, **settings)

    monkeypatch.setattr(adapter, "pipeline", alone)
    for one, two in zip(adapter.answer(REQUESTS), stock.answer(REQUESTS), strict=True):
        assert np.abs(one.astype(int) - two).max() <= 1
    assert sizes == [3, 1, 1, 1]


def test_an_error_of_one_picture_is_not_hidden(folder, monkeypatch):
    adapter = DiffusersPipeline(str(folder))

    def broken(**_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(adapter, "pipeline", broken)
    with pytest.raises(RuntimeError, match="out of order"):
        adapter.answer(REQUESTS)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_is_no_black_picture(folder, monkeypatch):
    adapter = DiffusersPipeline(str(folder))
    empty = SimpleNamespace(images=np.full((1, 16, 16, 3), np.nan, np.float32))
    monkeypatch.setattr(adapter, "pipeline", lambda **_: empty)
    with pytest.raises(ValueError, match=r"must be finite\. Got NaN in float32"):
        adapter.answer(REQUESTS[:1])


def test_cards_that_it_cannot_do_are_known(stock):
    reasons = {name: stock.can(cards.find(name)) for name in ("image/digits", "image/scene_eval")}
    assert reasons == {"image/digits": "cannot give features (Embed)", "image/scene_eval": None}


def test_the_digest_follows_the_settings_of_the_parts(folder, stock, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    again = make(f"diffusers:{copy}").facts()
    assert again["digest"] == stock.facts()["digest"]
    config = copy / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"theta": 7}))
    other = make(f"diffusers:{copy}")
    (one,), (two,) = stock.answer(REQUESTS[:1]), other.answer(REQUESTS[:1])
    assert (one != two).any()
    assert other.facts()["weights"] == again["weights"]
    assert other.facts()["digest"] != again["digest"]


def test_a_card_is_scored(stock, tmp_path):
    (result,) = engine.evaluate(stock, [cards.find("image/scene_eval")], tmp_path, limit=6)
    assert 1 <= result.n <= 6
    assert result.model == "diffusers-tiny"


@pytest.mark.parametrize("place", ["nowhere/at/all", "."])
def test_what_is_no_pipeline_is_said_in_a_sentence(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="diffusers model must be a text-to-image pipeline") as e:
        make(f"diffusers:{place}")
    assert "\n" not in str(e.value)
