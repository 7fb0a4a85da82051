"""The verbs that use a model: write, fill, draw, search, export."""

import io
import json
import shutil

import pytest
import torch
from PIL import Image
from random_networks import multimodal

import tgp_multimodal as tgp
from tgp_multimodal import export as exports
from tgp_multimodal.cli import main
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.models.networks import describe


@pytest.fixture(scope="module")
def run(tokenizer, tmp_path_factory):
    """A run folder as training leaves it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    network = multimodal(tokenizer.vocabulary)
    with torch.no_grad():  # else each token would be its own most probable successor
        network.text.embed_tokens.weight *= 0.03
    (folder / "checkpoints").mkdir(parents=True)
    weights = {f"network.{k}": v for k, v in network.state_dict().items()}
    checkpoint = {
        "state_dict": weights,
        "network_description": describe(network),
        "ema": {k: v * 0.5 for k, v in network.state_dict().items()},
        "global_step": 40,
    }
    torch.save(checkpoint, folder / "checkpoints" / "last.ckpt")
    tokenizer.save(folder / "data" / "tokenizer")
    (folder / "metrics.csv").write_text("step,val/bits,train/x\n1,9.5,1\n2,,1\n39,8.5,\n40,7.5,\n")
    manifest = {"precision": "float32", "data": {"text": {"splits": {}, "digest": "d"}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def folder(run):
    assert main(["export", str(run)]) == 0
    return str(run / "export")


@pytest.fixture(scope="module")
def model(folder):
    return tgp.load(folder)


def test_export_takes_averaged_weights_and_the_runs_facts(run, folder, tmp_path, capsys):
    loaded = exports.load(run / "export")
    assert loaded.facts["steps"] == 40
    assert loaded.facts["run"] == "tiny"
    assert loaded.facts["metrics"] == {"val/bits": 8.5}  # 7.5 is of steps behind the checkpoint
    assert loaded.facts["measured_at"] == 40
    assert "| measured at step 40 | value |" in (run / "export" / "README.md").read_text()
    assert loaded.facts["precision"] == "float32"
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert torch.equal(loaded.network.text.norm.weight, checkpoint["ema"]["text.norm.weight"])
    source = str(run / "checkpoints" / "last.ckpt")
    assert main(["export", source, "--output", str(tmp_path / "other")]) == 0
    assert "other" in capsys.readouterr().out
    assert exports.load(tmp_path / "other").digest == loaded.digest


def test_export_takes_no_other_tokenizer_than_the_run_s(run, tokenizer, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint = exports.load_checkpoint(path)
    for spoken, code in (("another", 2), (tokenizer.digest, 0)):
        torch.save({**checkpoint, "tokenizer": spoken}, path)
        assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "e")]) == code
        assert (tmp_path / "e").exists() == (code == 0)
    assert "must be the one of the checkpoint, another" in capsys.readouterr().err


def test_export_finds_the_tokenizer_of_the_data_that_the_run_names(
    run, tokenizer, corpus, tmp_path
):
    """Another run left data in the folder."""
    shutil.copytree(run, there := tmp_path / "run")
    path = there / "checkpoints" / "last.ckpt"
    torch.save({**exports.load_checkpoint(path), "tokenizer": tokenizer.digest}, path)
    (there / "data").rename(tmp_path / "mine")
    tokenizers.train(corpus[:2], vocabulary=300).save(there / "data" / "tokenizer")
    (there / "config.yaml").write_text(f"data: {{folder: {tmp_path / 'mine'}}}")
    assert main(["export", str(there)]) == 0
    assert exports.load(there / "export").tokenizer.digest == tokenizer.digest


def test_export_takes_the_checkpoint_before_a_damaged_one(run, folder, tmp_path):
    shutil.copytree(run, there := tmp_path / "run")
    last = there / "checkpoints" / "last.ckpt"
    shutil.copyfile(last, last.with_name("previous.ckpt"))
    last.write_bytes(last.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match=r"last.ckpt is damaged"):
        assert main(["export", str(there), "--output", str(tmp_path / "e")]) == 0
    assert exports.load(tmp_path / "e").digest == exports.load(folder).digest


def stored(root, name, weights, contamination, **more):
    """A result file of these weights."""
    from tgp_multimodal.evaluation import results

    content = {"model": name, "card": "text/made_up", "card_version": 1, "card_digest": "c"}
    content |= {"domain": "text", "protocol": "probe", "metric": "accuracy", "value": 0.612}
    content |= {"n": 300, "low": 0.55, "high": 0.67, "chance": 0.25, "higher_is_better": True}
    content |= {"details": {}, "limit": None, "data_digest": "d", "seconds": 1.0}
    facts = {"digest": "m", "weights": weights}
    content |= {"model_facts": facts, "environment": {}, "items_file": "text__made_up.jsonl"}
    content |= {"contamination": contamination} | more
    return results.write(root, results.Result(**content), [])


def test_export_puts_results_of_these_weights_into_the_card(run, folder, tmp_path, capsys):
    clean = {"value": 0.5987, "low": 0.5, "high": 0.7, "n": 297}
    one = {"checked": 300, "flagged": 3, "share": 0.01, "overlap": {}, "clean": clean}
    weights = exports.load(folder).digest
    stored(tmp_path / "r", "other", "of another", {})
    given = ["export", str(run), "--output", str(tmp_path / "e"), "--results", str(tmp_path / "r")]
    assert main(given) == 2
    assert f"results must hold one of the weights {weights[:12]}" in capsys.readouterr().err
    stored(tmp_path / "r", "mine", weights, {"13": one, "8": one})
    assert main(given) == 0
    card = (tmp_path / "e" / "README.md").read_text()
    assert "| text/made_up | accuracy | 0.612 [0.550, 0.670] | 0.25 | 300 | 3 of 300 items" in card
    assert "0.599 without" in card
    assert "## Benchmarks" not in (run / "export" / "README.md").read_text()


def test_export_reports_bias_by_kind(run, folder, tmp_path):
    low = {"value": 0.4, "n": 50, "low": 0.31, "high": 0.49}
    near = {"value": 0.52, "n": 50, "low": 0.38, "high": 0.66}
    more = {"card": "text/pairs", "protocol": "bias"}
    more |= {
        "details": {"axes": {"age": low, "sex": near}},
        "value": 0.46,
        "n": 100,
        "low": 0.36,
        "high": 0.56,
        "chance": 0.5,
    }
    stored(tmp_path / "r", "mine", exports.load(folder).digest, {}, **more)
    given = ["export", str(run), "--output", str(tmp_path / "e"), "--results", str(tmp_path / "r")]
    assert main(given) == 0
    card = (tmp_path / "e" / "README.md").read_text()
    assert "| text/pairs | all | 0.460 [0.360, 0.560] | 100 | no |" in card
    assert "| text/pairs | age | 0.400 [0.310, 0.490] | 50 | yes |" in card
    assert "| text/pairs | sex | 0.520 [0.380, 0.660] | 50 | no |" in card


def test_export_of_nothing(tmp_path, capsys):
    for source in (tmp_path, tmp_path / "nothing.ckpt"):
        assert main(["export", str(source)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("checkpoint must be a file or a run's folder. Got" in line for line in lines)


def test_write(model, folder, capsys, monkeypatch):
    options = ["--max_tokens", "12", "--seed", "3"]
    assert main(["write", folder, "The river", *options]) == 0
    expected = "The river" + model.write("The river", 12, seed=3) + "\n"
    assert capsys.readouterr().out == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("The river"))
    assert main(["write", folder, "-", *options]) == 0
    assert capsys.readouterr().out == expected


def test_fill(model, folder, tmp_path, capsys):
    options = ["--max_tokens", "6", "--temperature", "0"]
    assert main(["fill", folder, "--prefix", "def f():", "--suffix", "return", *options]) == 0
    middle = model.fill("def f():", "return", 6, temperature=0)
    assert capsys.readouterr().out == middle + "\n"
    source = tmp_path / "half.py"
    source.write_text("def f():<FILL>return")
    assert main(["fill", folder, "--file", str(source), *options]) == 0
    assert capsys.readouterr().out == f"def f():{middle}return"


def test_fill_at_a_cursor(model, folder, tmp_path, capsys):
    source = tmp_path / "half.py"
    source.write_text("def f():\n    x = \n    return x\n")
    options = ["--file", str(source), "--at", "2:9", "--max_tokens", "6", "--temperature", "0"]
    assert main(["fill", folder, *options]) == 0
    before, after = "def f():\n    x = ", "\n    return x\n"
    assert capsys.readouterr().out == before + model.fill(before, after, 6, temperature=0) + after
    assert main(["fill", folder, *options, "--marker", "GAP"]) == 2
    assert "marker must be left out with at. Got GAP instead." in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--at", "2:9"], []])
def test_fill_keeps_the_ends_of_lines(model, folder, tmp_path, capsys, monkeypatch, options):
    written = []

    def stream(self, prompt, suffix, sampling):
        written.append((prompt, suffix))
        yield from ("1\n", "    y\n")

    monkeypatch.setattr(type(model), "stream", stream)
    source = tmp_path / "dos.py"
    gap = "" if options else "<FILL>"
    source.write_bytes(f"def f():\r\n    x = {gap}\r\n    return x\r\n".encode())
    assert main(["fill", folder, "--file", str(source), "--max_tokens", "6", *options]) == 0
    whole = "def f():\r\n    x = 1\r\n    y\r\n\r\n    return x\r\n"
    assert capsys.readouterr().out == whole
    assert written == [("def f():\n    x = ", "\n    return x\n")]


def test_samples_are_printed_with_their_seeds(model, folder, capsys):
    options = ["--n", "2", "--seed", "5", "--max_tokens", "6"]
    assert main(["write", folder, "def f():\n", "--code", *options]) == 0
    texts = [model.write("def f():\n", 6, 0.2, seed=s, stop_at_dedent=True) for s in (5, 6)]
    assert capsys.readouterr().out == f"--- seed 5\n{texts[0]}\n--- seed 6\n{texts[1]}\n"
    assert main(["fill", folder, "--prefix", "a", "--suffix", "b", *options]) == 0
    texts = [model.fill("a", "b", 6, seed=s) for s in (5, 6)]
    assert capsys.readouterr().out == f"--- seed 5\n{texts[0]}\n--- seed 6\n{texts[1]}\n"
    assert main(["write", folder, "a", "--n", "0"]) == 2
    assert "n must be at least 1. Got 0 instead." in capsys.readouterr().err


def test_samples_are_printed_batch_by_batch(model, folder, capsys, monkeypatch):
    monkeypatch.setattr("tgp_multimodal.inference.writing.BATCH", 2)
    samples, asked = type(model).samples, []

    def interrupted(self, prompt, suffix, n, sampling):
        asked.append((n, sampling.seed))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return samples(self, prompt, suffix, n, sampling)

    monkeypatch.setattr(type(model), "samples", interrupted)
    assert main(["write", folder, "a", "--n", "3", "--seed", "5", "--max_tokens", "4"]) == 130
    assert asked == [(2, 5), (1, 7)]
    assert capsys.readouterr().out.count("--- seed") == 2  # what was written is not lost


def test_what_is_not_read_is_told(model, folder, capsys):
    long = "The river " * 300
    room = model.network.text.context - 6 - 1
    unread = len(model.tokenizer.encode(long)) - room
    assert main(["write", folder, long, "--max_tokens", "6"]) == 0
    wanted = f"no room for {unread:,} tokens of the text, its first ones; they are not read"
    assert wanted in capsys.readouterr().err
    assert main(["fill", folder, "--prefix", long, "--suffix", long, "--max_tokens", "6"]) == 0
    unread = 2 * len(model.tokenizer.encode(long)) - (room - 3)
    assert f"no room for {unread:,} tokens of the text, those farthest" in capsys.readouterr().err
    assert main(["write", folder, "The river", "--max_tokens", "6"]) == 0
    assert capsys.readouterr().err == ""


def test_a_mark_of_byte_order_is_no_character(model, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(type(model), "stream", lambda self, a, b, s: iter([f"[{a}|{b}]"]))
    source = tmp_path / "half.py"
    source.write_text("\ufeffx = \n", encoding="utf-8")
    given = ["--file", str(source), "--at", "1:5", "--max_tokens", "6"]
    assert main(["fill", folder, *given]) == 0
    assert capsys.readouterr().out == "\ufeffx = [x = |\n]\n"


def test_text_of_another_encoding_is_named(folder, tmp_path, capsys):
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9 <FILL>")
    for arguments in (
        ["fill", folder, "--file", str(tmp_path / "latin1.txt")],
        ["draw", folder, "--grid", str(tmp_path / "latin1.txt")],
    ):
        assert main(arguments) == 2
        wanted = "latin1.txt must be UTF-8 text. Got byte 0xe9 at 3 instead.\n"
        assert capsys.readouterr().err.endswith(wanted)


def test_fill_answers_an_editor(model, folder, capsys, monkeypatch):
    lines = '{"id": 1, "prefix": "a", "suffix": "b"}\nnonsense\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["fill", folder, "--json", "--max_tokens", "5"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"id": 1, "texts": [model.fill("a", "b", 5)]}
    assert second["error"].startswith("request must be one line of JSON.")


def test_fill_needs_one_gap(folder, tmp_path, capsys):
    source = tmp_path / "half.py"
    source.write_text("<FILL> and <FILL>")
    for arguments, message in [
        ([], "Got none instead."),
        (["--prefix", "a", "--file", str(source)], "Got both instead."),
        (["--file", str(source)], "Got it 2 times instead."),
        (["--file", str(source), "--marker", ""], "Got it 0 times instead."),
        (["--file", str(tmp_path / "no.py")], "no.py"),
        (["--prefix", "a", "--json"], "Got both instead."),
        (["--prefix", "a", "--at", "1:1"], "file must be given with at. Got at 1:1 alone"),
        (["--file", str(source), "--at", "9:1"], "line of at must be between 1 and 1. Got 9"),
        (["--json", "--top_p", "3"], "top_p must be above 0 and at most 1. Got 3.0 instead."),
    ]:
        assert main(["fill", folder, *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_draw_writes_pictures_that_say_how_they_were_made(model, folder, tmp_path, capsys):
    options = ["--steps", "3", "--count", "2", "--seed", "7", "--output", str(tmp_path)]
    assert main(["draw", folder, "a red circle", "../x: \u00e9", *options]) == 0
    paths = capsys.readouterr().out.split("\n")[:-1]
    names = ["000-a-red-circle.png", "001-a-red-circle.png", "002-x-\u00e9.png", "003-x-\u00e9.png"]
    assert paths == [str(tmp_path / n) for n in [*names, "sheet.png"]]
    with Image.open(tmp_path / names[2]) as picture:
        about = picture.text
        assert picture.size == (16, 16)
    assert about["prompt"] == "../x: \u00e9"
    assert about["seed"] == "9"
    assert about["steps"] == "3"
    assert about["guidance"] == "4.0"
    assert about["weights"] == model.digest
    again = model.draw(about["prompt"], steps=3, seed=9)[0]
    with Image.open(tmp_path / names[2]) as picture:
        assert max(abs(a - b) for a, b in zip(picture.tobytes(), again.tobytes(), strict=True)) <= 1
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 300


def test_one_picture_needs_no_sheet(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\na circle\n\n"))
    assert main(["draw", folder, "-", "--steps", "2", "--output", str(tmp_path)]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["000-a-circle.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["x", "--size", "18"],
            "size must be a positive multiple of 4 (the patch). Got 18 instead.",
        ),
        (["x", "--count", "0"], "count must be at least 1. Got 0 instead."),
        (["x", "--output", __file__], "output must be a folder, or a new one. Got the file"),
        (["-"], "prompts must hold at least one prompt. Got none instead."),
        ([], "prompts"),
        (["x", "--guidance", "0"], "guidance must be at least 1. Got 0.0 instead."),
        (["x", "--sampler", "eular"], "there are: ancestral, dpm, euler, heun"),
    ],
)
def test_mistakes_of_draw(folder, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    place = tmp_path / "drawings"
    assert main(["draw", folder, "--output", str(place), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not place.exists()


@pytest.mark.parametrize("verb", ["write", "fill", "draw", "search"])
@pytest.mark.usefixtures("folder")
def test_a_folder_that_is_no_export(run, verb, capsys, tmp_path):
    arguments = {
        "write": ["x"], "fill": ["--prefix", "x"], "draw": ["x", "--output", str(tmp_path)],
        "search": ["x", "--path", __file__],
    }[verb]  # fmt: skip
    assert main([verb, str(run), *arguments]) == 2
    error = capsys.readouterr().err
    assert "model folder must be an export" in error
    assert "Did you mean" in error
    assert error.count("\n") == 1
