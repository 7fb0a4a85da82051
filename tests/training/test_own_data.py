"""A size trains on what a folder of one's own holds."""

import json
import shutil

import pytest
from random_networks import multimodal

from tgp_multimodal import cli, export
from tgp_multimodal.resources import shipped_config
from tgp_multimodal.training.run import RunCLI
from tgp_multimodal.verbs.fit import with_configs

PATCH = "--model.network.init_args.head.init_args.patch"

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
    hold(
        folder,
        "text",
        {"books": 3_000_000, "code": 1_000_000, "note": 200, "empty": 0, "tail": 300},
    )
    found, made = config(folder)
    told = "the folder holds, text (books, code, tail), by size; too small for a row: note, empty"
    assert told in capsys.readouterr().err
    assert type(made.model.network).__name__ == "LanguageModel"
    assert set(made.model.objectives) == {"text", "passages"}
    text = found["data"]["text"]
    assert text["weights"] == {"books": 0.75, "code": 0.25, "tail": 7.5e-05}
    assert text["infill"] == {"code": 0.5}
    assert (text["length"], text["batch"]) == (256, 8)  # as in the size
    assert "docstrings" not in found["data"]["passages"]  # nothing says that the code is Python
    assert found["data"]["pictures"] is None
    assert not found["data"]["embedded"]


def test_pictures_alone_are_drawn_as_large_as_they_are(folder):
    hold(folder, "pictures", {"photos": 30, "icons": 10}, rows=64)
    found, made = config(folder)
    assert set(made.model.objectives) == {"pictures", "captions"}
    pictures = found["data"]["pictures"]
    assert pictures["weights"] == {"photos": 0.75, "icons": 0.25}
    assert "drawn" not in pictures
    assert (made.model.network.head.size, made.model.network.head.patch) == (64, 8)


@pytest.mark.parametrize(
    ("rows", "given", "shape"),
    [
        (28, (), (28, 4)),  # 4 x 28 / 32 is no whole patch
        (64, ("--model.network.init_args.head.init_args.size", "64"), (64, 4)),
        (33, (), (33, 3)),  # nor is 4; 3 is the nearest that fits
        (34, (PATCH, "17"), (34, 17)),  # 2 and 17 are more than a factor of 2 away
        (37, (f"{PATCH}=37",), (37, 37)),
        (34, ("--model.network.init_args.head.init_args.size=32",), (32, 4)),
        (64, (PATCH, "16"), (64, 16)),
    ],
)
def test_the_head_of_other_pictures(folder, rows, given, shape):
    hold(folder, "pictures", {"photos": 30}, rows=rows)
    head = config(folder, *given)[1].model.network.head
    assert (head.size, head.patch) == shape


@pytest.mark.parametrize("rows", [34, 37])
def test_pictures_that_no_usual_patch_divides_are_refused_where_they_are_drawn(folder, rows):
    hold(folder, "pictures", {"photos": 30}, rows=rows)
    told = f"patches of about 1/8 of it divide, as 32 .*init_args.patch.* Got {rows} instead"
    with pytest.raises(ValueError, match=told):
        config(folder)
    hold(folder, "text", {"books": 1000})
    made = config(folder, "--config", str(shipped_config("text.yaml")))[1]
    assert type(made.model.network).__name__ == "LanguageModel"


def test_pictures_that_are_called_scenes_are_read_and_those_of_the_package_drawn(folder):
    hold(folder, "pictures", {"scenes": 30})
    assert "drawn" not in config(folder)[0]["data"]["pictures"]
    path = folder / "pictures" / "manifest.json"
    sources = [{"name": "embedded train scenes", "stream": "scenes"}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sources": sources}))
    assert "scenes" in config(folder)[0]["data"]["pictures"]["drawn"]


def test_a_start_with_a_head_trains_text_alone_on_text_alone(folder, tokenizer, tmp_path):
    hold(folder, "text", {"books": 1000})
    start = tmp_path / "export"
    export.save(start, multimodal(tokenizer.vocabulary), tokenizer, {}, "")
    made = config(folder, "--init_from", str(start))[1]
    assert type(made.model.network).__name__ == "LanguageModel"


def test_what_an_overlay_leaves_out_is_not_told(folder, capsys):
    hold(folder, "text", {"books": 1000})
    hold(folder, "pictures", {"photos": 10})
    made = config(folder, "--config", str(shipped_config("text.yaml")))[1]
    assert set(made.model.objectives) == {"text", "passages"}
    assert "the folder holds, text (books), by size" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--size", "gpu"], ["--size", "crops"]])
def test_a_config_that_is_no_size_is_left_to_the_parser(folder, words):
    hold(folder, "text", {"books": 1000})
    options = [*words, "--data.folder", str(folder)]
    assert with_configs(options)[2:] == options


def test_a_folder_that_is_no_path_is_left_to_the_parser(folder, tmp_path):
    (tmp_path / "mine.yaml").write_text("size: nano\ndata: {folder: 5}")
    assert len(with_configs(["--config", str(tmp_path / "mine.yaml")])) == 4
    assert len(with_configs(["--size", "nano", "--data.folder", "~nobody-x/y"])) == 6


def test_both_kinds_keep_the_network_of_the_size(folder):
    hold(folder, "text", {"books": 1000})
    hold(folder, "pictures", {"photos": 10})
    found, made = config(folder)
    assert set(made.model.objectives) == {"text", "pictures", "passages", "captions"}
    assert found["data"]["text"]["infill"] == {}
    assert made.model.network.head.size == 32


def test_what_is_given_wins(folder, tmp_path, capsys):
    hold(folder, "text", {"books": 1000, "code": 1000})
    own = tmp_path / "mine.yaml"
    own.write_text("data: {text: {weights: {books: 1.0}, infill: {}, length: 64, batch: 2}}")
    found, _ = config(folder, "--config", str(own), "--data.text.batch", "4")
    assert "training on" not in capsys.readouterr().err
    text = found["data"]["text"]
    assert (text["weights"], text["length"], text["batch"]) == ({"books": 1.0}, 64, 4)
    assert found["data"]["pictures"] is None  # there are none, whatever the size has


def test_a_folder_with_the_streams_of_the_size_changes_nothing(folder, tmp_path):
    hold(folder, "text", {"prose": 10, "code": 10})
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
    hold(folder, "text", {"books": 1000})
    own = tmp_path / "mine.yaml"
    own.write_text(f"size: tiny\ndata: {{folder: {folder}}}")
    words = with_configs(["--config", str(own)])
    assert words[:4] == [
        "--config", str(shipped_config("tiny.yaml")), "--config", str(shipped_config("text.yaml")),
    ]  # fmt: skip
    assert json.loads(words[5])["data"]["text"]["weights"] == {"books": 1.0}


def test_a_folder_of_text_alone_is_trained_on(data_folder, folder, monkeypatch):
    shutil.copytree(data_folder, folder, ignore=shutil.ignore_patterns("pictures"))
    monkeypatch.setattr(cli, "_silence", lambda: None)
    run = folder.parent / "run"
    quick = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "0"]
    small = ["--data.text.batch", "1", "--data.passages.batch", "2", "--data.text.length", "64"]
    where = ["--data.folder", str(folder), "--trainer.default_root_dir", str(run)]
    assert cli.main(["fit", "--size", "nano", *where, *quick, *small]) == 0
    assert (run / "checkpoints" / "last.ckpt").is_file()
