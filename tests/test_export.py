"""One folder, three stock clients: what they compute in a process of their own, we compute."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from random_networks import (
    dual_encoder,
    language_model,
    multimodal,
    text_transformer,
    with_tower,
)
from safetensors.torch import load_file

import tgp_multimodal as tgp
from tgp_multimodal import export
from tgp_multimodal.inference import image, text, writing
from tgp_multimodal.inference.drawing import Drawing, rows_columns
from tgp_multimodal.inference.sampling import Sampling
from tgp_multimodal.model_card import model_card
from tgp_multimodal.models.networks import describe

TOLERANCE = 1e-5
CLIENTS = Path(__file__).parent / "stock_clients.py"
TEXTS = [
    "The river carried thin plates of ice.",
    "",
    "x",
    "  def add(a, b):\r\n\treturn a + b  \n\n",
    "caf\u00e9 cafe\u0301 \u212b \u2126 \U0001f468\u200d\U0001f469 1234567890 \u4e1c\u4eac",
    "a set holds each item once, a list holds items in order. " * 9,
]
PROMPTS = ["The old bridge", "def ", ""]
SEED, NEW = 11, 12
SCENE = "a red circle left of a blue square"
EULER = Drawing(6, 4.0, sampler="euler")
DRAWINGS = [  # prompt, our settings, the stock scheduler that does the same
    (SCENE, EULER, None),
    ("  Fish &amp; chips \u2018today\u2019\n", EULER, None),
    ("", EULER, None),
    (SCENE, EULER._replace(guidance=1.0), None),
    (SCENE, EULER._replace(negative_prompt="a blue square, and fish & chips "), None),
    (SCENE, EULER._replace(size=(12, 32)), None),
    (SCENE, EULER._replace(size=96, steps=3), None),
    (SCENE, EULER._replace(sampler="dpm", steps=8), "DPMSolverMultistepScheduler"),
    (SCENE, EULER._replace(sampler="dpm", steps=20, guidance=1.0), "DPMSolverMultistepScheduler"),
    (SCENE, EULER._replace(sampler="unipc", steps=8), "UniPCMultistepScheduler"),
    (SCENE, EULER._replace(sampler="unipc", steps=20, guidance=1.0), "UniPCMultistepScheduler"),
]


def stock_settings(prompt, drawing, scheduler):
    """What the stock pipeline is asked, for the same picture."""
    rows, columns = rows_columns(drawing, 16)
    return {
        "prompt": prompt,
        "negative_prompt": drawing.negative_prompt,
        "num_inference_steps": drawing.steps,
        "guidance_scale": drawing.guidance,
        "height": rows,
        "width": columns,
        "scheduler": scheduler,
    }


@pytest.fixture(scope="module")
def network(tokenizer):
    return multimodal(tokenizer.vocabulary)


@pytest.fixture(scope="module")
def folder(network, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "export"
    facts = {"run": "test", "steps": 3}
    export.save(path, network, tokenizer, facts, model_card(network, tokenizer, facts))
    return path


@pytest.fixture(scope="module")
def stock(folder, tokenizer, tmp_path_factory):
    """What transformers, sentence-transformers and diffusers say, without our package."""
    place = tmp_path_factory.mktemp("stock")
    export.save(place / "alone", language_model(tokenizer.vocabulary), tokenizer, {}, "")
    questions = {
        "language_model": str(place / "alone"),
        "texts": TEXTS,
        "prompts": PROMPTS,
        "draw": [stock_settings(*drawing) for drawing in DRAWINGS],
        "context": 64,
        "seed": SEED,
        "new_tokens": NEW,
    }
    (place / "questions.json").write_text(json.dumps(questions))
    command = [sys.executable, CLIENTS, folder, place / "questions.json", place / "answers.npz"]
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env={**os.environ, **quiet}, capture_output=True)
    return dict(np.load(place / "answers.npz"))


def test_stock_classes(stock):
    assert stock["classes"].tolist() == ["Qwen2Tokenizer", "Qwen3ForCausalLM"]
    assert stock["pipeline"].tolist() == ["PRXPixelPipeline"]


def test_stock_tokenizer_reads_the_same_ids(stock, tokenizer):
    for index, content in enumerate(TEXTS):
        assert stock[f"ids_{index}"].tolist() == tokenizer.encode(content, bos=True)
    assert stock["ids_1"].tolist() == [tokenizer.bos]


@torch.no_grad()
def test_stock_causal_logits(stock, network, tokenizer):
    compared = 0
    for index, content in enumerate(TEXTS):
        if (theirs := stock.get(f"logits_{index}")) is not None:
            token_BL = torch.tensor([tokenizer.encode(content, bos=True)])
            ours = network.text.logits(network.text(token_BL))[0].numpy()
            assert np.abs(ours - theirs).max() <= TOLERANCE
            assert theirs.std() > 1
            compared += 1
    assert compared == 5


def test_stock_greedy_text(stock, network, tokenizer):
    for index, prompt in enumerate(PROMPTS):
        ids = [int(i) for i in stock[f"written_{index}"]]
        prompt_ids = writing.plain_prompt(tokenizer, prompt, 64)
        written = writing.generate(network.text, tokenizer, [prompt_ids], Sampling(max_tokens=NEW))
        assert written == [tokenizer.decode(i for i in ids if i != tokenizer.eos)]
        assert len(ids) == NEW or ids[-1] == tokenizer.eos


def test_stock_sentence_vectors(stock, network, tokenizer):
    ours = text.embed(network.text, tokenizer, TEXTS)
    assert np.abs(ours).max() > 0.5
    assert np.abs(ours - stock["vectors"]).max() <= TOLERANCE


@pytest.mark.parametrize("index", range(len(DRAWINGS)))
def test_stock_pictures(stock, network, tokenizer, index):
    prompt, drawing, _ = DRAWINGS[index]
    noise = image.own_noise([SEED + index], *rows_columns(drawing, 16))
    ours = image.draw_pixels(network, tokenizer, [prompt], noise, drawing)[0].numpy()
    theirs = stock[f"picture_{index}"]
    assert theirs.std() > 0.1
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= TOLERANCE


def test_stock_pictures_of_a_batch(stock, network, tokenizer):
    prompts = [prompt for prompt, drawing, _ in DRAWINGS if drawing == EULER]
    noise = image.own_noise(range(SEED, SEED + len(prompts)), 16, 16)
    ours = image.draw_pixels(network, tokenizer, prompts, noise, EULER).numpy()
    for index, picture in enumerate(ours):
        assert np.abs(picture - stock[f"picture_{index}"]).max() <= TOLERANCE
    assert np.abs(ours[0] - ours[2]).max() > 0.01


def test_language_model_alone(stock, tokenizer, tmp_path):
    network = language_model(tokenizer.vocabulary)
    ours = text.embed(network.text, tokenizer, TEXTS)
    assert np.abs(ours - stock["vectors_alone"]).max() <= TOLERANCE
    export.save(tmp_path / "export", network, tokenizer, {}, "card")
    assert not (tmp_path / "export" / "model_index.json").exists()
    assert type(export.load(tmp_path / "export").network) is type(network)


def test_load_gives_back_what_was_saved(folder, network, tokenizer):
    loaded = export.load(folder)
    assert describe(loaded.network) == describe(network)
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value), name
    assert loaded.tokenizer.digest == tokenizer.digest
    assert loaded.facts == {"run": "test", "steps": 3}
    assert loaded.digest == export.weights_digest(network)
    assert not loaded.network.training
    assert not any(p.requires_grad for p in loaded.network.parameters())


@pytest.mark.parametrize("build", [dual_encoder, with_tower])
def test_the_tower_is_one_more_file_and_the_stock_files_stay_what_they_are(
    build, folder, network, tokenizer, tmp_path
):
    towered, place = build(tokenizer.vocabulary), tmp_path / "export"
    export.save(place, towered, tokenizer, {}, model_card(towered, tokenizer, {}))
    loaded = export.load(place)
    assert describe(loaded.network) == describe(towered)
    assert export.weights_digest(loaded.network) == export.weights_digest(towered)
    names = {p.relative_to(place) for p in place.rglob("*") if p.is_file()}
    stock = {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
    assert names - stock == {Path("tower/model.safetensors")}
    changed = {p for p in names & stock if (place / p).read_bytes() != (folder / p).read_bytes()}
    assert changed == {Path("tgp.json"), Path("README.md")}
    assert (names >= stock) == (build is with_tower)
    saved = load_file(place / "tower" / "model.safetensors")
    assert {k.partition(".")[0] for k in saved} == {"visual", "logit_scale", "logit_bias"}
    card = (place / "README.md").read_text()
    assert "image tower (open_clip)" in card
    assert "model.similarity(" in card
    assert "image tower" not in (folder / "README.md").read_text()
    (place / "tower" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"tower.model.safetensors must be a whole safetensors"):
        export.load(place)


def test_a_description_that_knows_no_tower_loads(folder, network):
    """Exports of before there were towers."""
    described = json.loads((folder / "tgp.json").read_text())["network"]
    assert "tower" not in described
    assert export.load(folder).network.tower is None


def test_front_door(folder):
    model = tgp.load(folder)
    assert isinstance(model, tgp.Model)
    assert model.digest == json.loads((folder / "tgp.json").read_text())["weights"]


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_the_front_door_takes_the_gpu_if_there_is_one(folder, monkeypatch, there, device):
    moved = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.nn.Module, "to", lambda _, *where: moved.append(where))
    tgp.load(folder)
    assert moved == [(torch.device(device),)]


def test_weights_are_on_disk_once_and_readable(folder):
    files = [folder / p / "model.safetensors" for p in ("", "encoder", "text_encoder")]
    assert len({f.stat().st_ino for f in files}) == 1
    assert files[0].stat().st_mode & 0o444 == 0o444


def test_digest_follows_every_weight(tokenizer):
    network = multimodal(tokenizer.vocabulary)
    before = export.weights_digest(network)
    with torch.no_grad():
        network.head.final_layer.linear.bias[0] += 1
    assert export.weights_digest(network) != before


def test_network_may_have_more_ids_than_the_tokenizer(tokenizer, tmp_path):
    export.save(tmp_path / "a", language_model(400), tokenizer, {}, "")
    assert export.load(tmp_path / "a").network.text.vocabulary == 400
    with pytest.raises(ValueError, match=r"vocabulary of the network .* 320\. Got 300 instead"):
        export.save(tmp_path / "b", language_model(300), tokenizer, {}, "")


def test_what_is_no_export_is_refused(tokenizer, tmp_path):
    with pytest.raises(ValueError, match=r"model folder must be an export .* Got .*nowhere"):
        export.load(tmp_path / "nowhere")
    export.save(tmp_path / "export", language_model(tokenizer.vocabulary), tokenizer, {}, "")
    with pytest.raises(ValueError, match=r"Did you mean .*export\?"):
        export.load(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "format"])
def test_damaged_exports_are_refused(tokenizer, tmp_path, damage):
    place = tmp_path / "export"
    export.save(place, language_model(tokenizer.vocabulary), tokenizer, {}, "")
    weights = place / "model.safetensors"
    content = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(content[:-10])
        message = r"must be a whole safetensors file"
    elif damage == "changed":
        weights.write_bytes(content[:-4] + b"\0\0\0\0")
        message = r"digest of the weights in .* must be"
    elif damage == "missing":
        weights.unlink()
        message = r"must be a whole safetensors file"
    else:
        found = json.loads((place / "tgp.json").read_text())
        (place / "tgp.json").write_text(json.dumps({**found, "format": 99}))
        message = r"export format must be 1\. Got 99"
    with pytest.raises(ValueError, match=message):
        export.load(place)


def test_checkpoint_prefers_averaged_weights(tokenizer, tmp_path):
    network = language_model(tokenizer.vocabulary)
    average = {f"text.{k}": v for k, v in text_transformer(seed=5).state_dict().items()}
    content = {
        "state_dict": {f"network.{k}": v for k, v in network.state_dict().items()},
        "network_description": describe(network),
    }
    path = tmp_path / "last.ckpt"
    torch.save(content, path)
    plain = export.network_from_checkpoint(export.load_checkpoint(path))
    assert export.weights_digest(plain) == export.weights_digest(network)
    torch.save({**content, "ema": average}, path)
    averaged = export.network_from_checkpoint(export.load_checkpoint(path))
    assert torch.equal(averaged.text.norm.weight, average["text.norm.weight"])
    assert not torch.equal(averaged.text.norm.weight, network.text.norm.weight)


class Code:
    """Something that a checkpoint must not hold."""


def test_checkpoints_that_are_none_are_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"checkpoint must be a file or a run's folder\. Got"
    ):
        export.load_checkpoint(tmp_path / "nothing.ckpt")
    path = tmp_path / "last.ckpt"
    for content in (b"", b"not a checkpoint"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint must hold tensors and plain data"):
            export.load_checkpoint(path)
    torch.save({"network": Code()}, path)
    with pytest.raises(ValueError, match=r"checkpoint must hold tensors and plain data"):
        export.load_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match=r"Got one without network_description instead"):
        export.network_from_checkpoint(export.load_checkpoint(path))


def test_card_names_data_sizes_numbers_and_limits(network, tokenizer, folder):
    facts = {
        "run": "demo",
        "steps": 9,
        "metrics": {"val/bits_per_byte": 2.5},
        "data": {
            "text": {
                "splits": {"train": {"documents": 12, "bytes": 3456}},
                "digest": "abcdef0123456789",
                "sources": [{"name": "the library", "license": "PSF-2.0"}],
            }
        },
    }
    card = model_card(network, tokenizer, facts)
    for part in ("# demo", "12 documents", "3,456 bytes", "abcdef012345", "license: PSF-2.0",
                 "| val/bits_per_byte | 2.5 |", "steps: 9", "batch 1", "16 x 16",
                 "context is 64", "AutoModelForCausalLM", "DiffusionPipeline",
                 "SentenceTransformer"):  # fmt: skip
        assert part in card, part
    alone = model_card(language_model(), tokenizer, {})
    assert "diffus" not in alone
    assert "No measurement was recorded." in alone
    assert (folder / "README.md").read_text().startswith("---\n")
