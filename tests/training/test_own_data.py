"""A size trains on what a folder of one's own holds."""

import json

import pytest

from tgp_multimodal.resources import shipped_config
from tgp_multimodal.training.run import RunCLI
from tgp_multimodal.verbs.fit import with_configs

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*litlogger.*")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tgp fit"])
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    return tmp_path / "data"


def hold(folder, kind, sizes, rows=32):
    unit = {"text": "tokens", "pictures": "pictures"}[kind]
    manifest = {
        "streams": list(sizes),
        "quality": {stream: {unit: size} for stream, size in sizes.items()},
        "splits": {"train": {"rows": rows}},
    }
    (folder / kind).mkdir(parents=True)
    (folder / kind / "manifest.json").write_text(json.dumps(manifest))


def config(folder, *options):
    words = with_configs(["--size", "nano", "--data.folder", str(folder), *options])
    cli = RunCLI([*words, "--trainer.accelerator", "cpu"], run=False)
    return cli.config.as_dict(), cli


def test_text_alone_is_trained_on_by_the_size_of_its_streams(folder, capsys):
    hold(folder, "text", {"books": 300, "code": 100, "empty": 0})
    found, cli = config(folder)
    assert "the folder holds, text (books, code), by size" in capsys.readouterr().err
    assert type(cli.model.network).__name__ == "LanguageModel"
    assert set(cli.model.objectives) == {"text", "passages"}
    text = found["data"]["text"]
    assert text["weights"] == {"books": 0.75, "code": 0.25}
    assert text["infill"] == {"code": 0.5}
    assert (text["length"], text["batch"]) == (256, 8)  # as in the size
    assert found["data"]["passages"]["docstrings"] == {"code": 0.2}
    assert found["data"]["pictures"] is None
    assert not found["data"]["embedded"]


def test_pictures_alone_are_drawn_as_large_as_they_are(folder):
    hold(folder, "pictures", {"photos": 30, "icons": 10}, rows=64)
    found, cli = config(folder)
    assert set(cli.model.objectives) == {"pictures", "captions"}
    pictures = found["data"]["pictures"]
    assert pictures["weights"] == {"photos": 0.75, "icons": 0.25}
    assert not pictures["drawn"]
    assert (cli.model.network.head.size, cli.model.network.head.patch) == (64, 8)


def test_both_kinds_keep_the_network_of_the_size(folder):
    hold(folder, "text", {"books": 10})
    hold(folder, "pictures", {"photos": 10})
    found, cli = config(folder)
    assert set(cli.model.objectives) == {"text", "pictures", "passages", "captions"}
    assert found["data"]["text"]["infill"] == found["data"]["passages"]["docstrings"] == {}
    assert cli.model.network.head.size == 32


def test_what_is_given_wins(folder, tmp_path, capsys):
    hold(folder, "text", {"books": 10, "code": 10})
    own = tmp_path / "mine.yaml"
    own.write_text("data: {text: {weights: {books: 1.0}, infill: {}, length: 64, batch: 2}}")
    found, _ = config(folder, "--config", str(own), "--data.text.batch", "4")
    assert "training on" not in capsys.readouterr().err
    text = found["data"]["text"]
    assert (text["weights"], text["length"], text["batch"]) == ({"books": 1.0}, 64, 4)
    assert found["data"]["pictures"] is None  # there are none, whatever the size has


def test_a_folder_with_the_streams_of_the_size_changes_nothing(folder, tmp_path):
    hold(folder, "text", {"prose": 10, "code": 10, "more": 5})
    hold(folder, "pictures", {"scenes": 10, "digits": 10})
    size = ["--config", str(shipped_config("nano.yaml"))]
    options = ["--size", "nano", "--data.folder", str(folder)]
    assert with_configs(options) == [*size, *options]
    (tmp_path / "damaged" / "text").mkdir(parents=True)
    (tmp_path / "damaged" / "text" / "manifest.json").write_text("{")
    for other in ("not there", "damaged"):
        options[-1] = str(tmp_path / other)
        assert with_configs(options) == [*size, *options]


def test_the_folder_may_stand_in_a_yaml(folder, tmp_path):
    hold(folder, "text", {"books": 10})
    own = tmp_path / "mine.yaml"
    own.write_text(f"size: tiny\ndata: {{folder: {folder}}}")
    words = with_configs(["--config", str(own)])
    assert words[:4] == [
        "--config", str(shipped_config("tiny.yaml")), "--config", str(shipped_config("text.yaml")),
    ]  # fmt: skip
    assert json.loads(words[5])["data"]["text"]["weights"] == {"books": 1.0}
