"""The whole road by the command line alone: files of a user in, a text, pictures and scores out."""

import json

import pytest
import yaml
from PIL import Image

from tgp_multimodal.cli import main
from tgp_multimodal.data import scenes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",  # Lightning against newer torch
    "ignore:.*litlogger.*",
    "ignore:.*does not have many workers.*",
)

TEXT = {"vocabulary": 320, "width": 32, "depth": 2, "feed_forward": 48, "heads": 2}
HEAD = {"text_width": 32, "width": 32, "depth": 2, "heads": 2, "patch": 4, "size": 16}


def config(folder):
    """A run of twelve steps on what `tgp prepare` wrote."""
    network = {
        "text": {"class_path": "TextTransformer", "init_args": TEXT | {"key_value_heads": 1}},
        "head": {"class_path": "DiffusionHead", "init_args": HEAD},
    }
    objectives = {
        "text": {"class_path": "HybridLanguage"},
        "pictures": {"class_path": "FlowMatching"},
    }
    return {
        "model": {
            "network": {"class_path": "Multimodal", "init_args": network},
            "objectives": objectives,
        },
        "data": {
            "folder": str(folder / "data"),
            "text": {"weights": {"prose": 1.0}, "infill": {}, "length": 32, "batch": 4},
            "pictures": {"weights": {"scenes": 1.0}, "longest": 24, "batch": 4},
            "validation_batches": 1,
        },
        "trainer": {
            "accelerator": "cpu", "default_root_dir": str(folder / "run"), "max_steps": 12,
            "log_every_n_steps": 4, "val_check_interval": 12, "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
        },
    }  # fmt: skip


@pytest.fixture
def sources(corpus, tmp_path):
    """A text file a document, and pictures with their captions beside them."""
    for i in range(60):
        text = f"Number {i}. {corpus[i % 20]} {corpus[(7 * i + i // 20) % 20]}"
        (tmp_path / "notes").mkdir(exist_ok=True)
        (tmp_path / "notes" / f"{i}.txt").write_text(text)
    (tmp_path / "drawn").mkdir()
    for i, pair in enumerate(scenes.pairs(40, 0, 16)):
        Image.fromarray(pair.pixels_YXC).save(tmp_path / "drawn" / f"{i}.png")
        (tmp_path / "drawn" / f"{i}.txt").write_text(pair.caption)
    return tmp_path


def test_from_files_to_texts_pictures_and_scores(sources, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning asks the old way
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config(tmp_path)))

    def tgp(*words):
        assert main([*words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    text, pictures = ["--text", "prose=notes"], ["--pictures", "scenes=drawn"]
    sizes = ["--vocabulary", "320", "--size", "16", "--validation_share", "0.3"]
    tgp("prepare", "data", *text, *pictures, *sizes)
    tgp("fit", "--config", "run.yaml")
    tgp("export", "run")
    card = ["--cards", "biomedical/wisconsin", "--held_out", "data"]
    with pytest.warns(UserWarning, match="scenes holds back 11 of the 20 pictures"):
        tgp("evaluate", "run/export", "majority", *card, "--limit", "20", "--results", "results")
    found = [json.loads(p.read_text()) for p in (tmp_path / "results").rglob("*.json")]
    scores = {(one["model"], one["card"]): one for one in found}
    assert {("run", "biomedical/wisconsin"), ("majority", "biomedical/wisconsin")} < scores.keys()
    assert {card for model, card in scores if model == "run" and "prose" in card}
    assert all(one["low"] <= one["value"] <= one["high"] for one in found)
    written = tgp("write", "run/export", "The river", "--max_tokens", "8", "--temperature", "0")
    assert written.startswith("The river")
    assert len(written) > len("The river\n")
    tgp("draw", "run/export", "a red circle", "a blue square", "--steps", "2", "--output", "out")
    drawn = [p for p in sorted((tmp_path / "out").glob("*.png")) if "sheet" not in p.name]
    assert len(drawn) == 2
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.size == (16, 16)
