"""What `tgp fit` reads before the parser: shipped configs, sizes, nano by default."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
import yaml
from random_networks import language_model, multimodal

from tgp_multimodal import cli, export
from tgp_multimodal.models.networks import describe
from tgp_multimodal.resources import shipped
from tgp_multimodal.training.run import EXAMPLES, RunCLI
from tgp_multimodal.verbs import fit as verb
from tgp_multimodal.verbs.fit import with_configs

REPOSITORY = Path(__file__).parent.parent.parent
PAGES = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("configs/*")]


def ours(name):
    return str(shipped("configs", name))


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A working folder without `configs/`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tgp fit"])
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    return tmp_path


def test_options_override_configs_wherever_they_stand(elsewhere):
    Path("a.yaml").write_text("a: 1")
    Path("b.yaml").write_text("b: 1")
    configs = ["--config", "a.yaml", "--config", "b.yaml"]
    given = ["--x", "1", "-c", "a.yaml", "--y=2", "--config=b.yaml", "--z"]
    assert with_configs(given) == [*configs, "--x", "1", "--y=2", "--z"]
    assert with_configs(["--x", "1", "--config"])[-3:] == ["--x", "1", "--config"]


def test_without_a_config_nano_is_read(elsewhere):
    assert with_configs([]) == ["--config", ours("nano.yaml")]
    assert with_configs(["--a", "1"]) == ["--config", ours("nano.yaml"), "--a", "1"]
    assert with_configs(["--help"]) == ["--help"]


@pytest.mark.parametrize("given", ["configs/tiny.yaml", "tiny.yaml"])
def test_a_shipped_config_is_found_by_its_name(elsewhere, capsys, given):
    assert with_configs(["--config", given]) == ["--config", ours("tiny.yaml")]
    assert with_configs([f"-c={given}"]) == ["--config", ours("tiny.yaml")]
    assert f"no file {given} here; reading {ours('tiny.yaml')}" in capsys.readouterr().err


def test_a_file_of_the_user_comes_before_a_shipped_one(elsewhere):
    (elsewhere / "tiny.yaml").write_text("seed_everything: 1")
    assert with_configs(["--config", "tiny.yaml"]) == ["--config", "tiny.yaml"]
    for path in ("naon.yaml", "other/tiny.yaml", '{"a": 1}'):
        assert with_configs(["--config", path]) == ["--config", path]


def test_the_network_of_a_start_comes_before_what_is_given(elsewhere, tokenizer):
    network = language_model(tokenizer.vocabulary)
    export.save(elsewhere / "export", network, tokenizer, {}, "")
    given = ["--config", "mine.yaml"]
    (elsewhere / "mine.yaml").write_text("init_from: export")
    word, text, *rest = with_configs(given)
    assert (word, rest) == ("--config", given)
    shape = json.loads(text)["model"]["network"]["init_args"]["text"]["init_args"]
    assert shape["width"] == network.text.width
    for words in (["--init_from", "export"], ["--init_from=export"]):
        found = with_configs([*words, "--size", "tiny"])
        assert found == ["--config", ours("tiny.yaml"), "--config", text, *words, "--size", "tiny"]
    with pytest.raises(ValueError, match=r"init_from must be a folder with a config.json\. Got no"):
        with_configs(["--init_from", "no"])


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*litlogger.*")
@pytest.mark.parametrize("build", [multimodal, language_model])
@pytest.mark.parametrize("overlay", ["biomedical", "code", "chat"])
def test_an_overlay_goes_on_from_any_export_as_text_alone(build, overlay, elsewhere, tokenizer):
    network = build(tokenizer.vocabulary)
    export.save(elsewhere / "export", network, tokenizer, {}, "")
    options = with_configs(["--init_from", "export", "--config", f"{overlay}.yaml"])
    cli = RunCLI([*options, "--trainer.accelerator", "cpu"], run=False)
    assert type(cli.model.network).__name__ == "LanguageModel"
    assert describe(cli.model.network.text) == describe(network.text)
    table = cli.model.network.text.embed_tokens.weight
    assert torch.equal(table, network.text.embed_tokens.weight)
    assert cli.model.start_tokenizer == tokenizer.digest


def test_a_file_that_is_no_yaml_is_named(elsewhere):
    (elsewhere / "good.yaml").write_text("size: nano")
    (elsewhere / "bad.yaml").write_text("data:\n  text: [1\n  folder: x\n")
    for options in (["--config", "bad.yaml"], ["--size", "nano", "--config", "bad.yaml"]):
        with pytest.raises(ValueError, match=r"^bad.yaml must be valid YAML\. .* \(line 3, column"):
            with_configs(["--config", "good.yaml", *options])


def test_a_size_is_read_first(elsewhere):
    (elsewhere / "mine.yaml").write_text("size: base")
    base, small = ["--config", ours("base.yaml")], ["--config", ours("small.yaml")]
    mine = ["--config", "mine.yaml"]
    assert with_configs(mine) == [*base, *mine]
    assert with_configs([*mine, "--size", "small"]) == [*small, *mine, "--size", "small"]
    assert with_configs(["--size=small"]) == [*small, "--size=small"]
    assert with_configs([*mine, "--size", "huge"]) == [*mine, "--size", "huge"]


def fit(monkeypatch, capsys, *argv):
    """Exit code, output and messages of `tgp fit`; what would be trained is given up."""
    monkeypatch.setattr(cli, "_silence", lambda: None)
    try:
        code = cli.main(["fit", *argv])
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr()
    return code or 0, told.out, told.err


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")
class TestCommandLine:
    def test_help_shows_examples(self, elsewhere, monkeypatch, capsys):
        code, out, _ = fit(monkeypatch, capsys, "--help")
        assert code == 0
        assert out.rstrip().endswith(EXAMPLES)
        assert "--size" in out

    def test_everything_is_printed_with_its_meaning(self, elsewhere, monkeypatch, capsys):
        argv = ("--size", "small", "--model.optimizer.muon_lr", "0.01", "--print_config=comments")
        code, out, _ = fit(monkeypatch, capsys, *argv)
        assert code == 0
        assert "# peak rate of matrices inside blocks. (type: float, default: 0.02)" in out
        assert "    muon_lr: 0.01\n" in out
        assert "    adamw_lr: 0.00212\n" in out
        assert "          width: 512\n" in out
        for key in ("ramp (left out: none): ", "flips (left out: none): ", "drawn.STREAM.usual "):
            assert key in out  # keys of the sections of data that the config does not have
        bare = re.findall(r"# *\((?:required, )?type.*\n *(\w+):", out)
        assert bare == []  # every setting has a sentence

    @pytest.mark.parametrize("words", [["fit"], ["validate"], ["--optimizer", "Adam"]])
    def test_what_would_be_passed_over_is_refused(self, elsewhere, monkeypatch, capsys, words):
        code, _, err = fit(monkeypatch, capsys, *words)
        assert code == 2
        assert words[0] in err

    def test_a_wrong_size_is_named(self, elsewhere, monkeypatch, capsys):
        code, _, err = fit(monkeypatch, capsys, "--size", "smal")
        assert code == 2
        assert err == (
            "tgp: size must be one that exists. Got smal instead; there are: base, medium, nano, "
            "small, tiny. Did you mean small?\n"
        )

    @pytest.mark.parametrize("overlay", ["search", "biomedical", "text", "gpu", "pictures"])
    def test_an_overlay_alone_says_that_it_needs_a_network(
        self, elsewhere, monkeypatch, capsys, overlay
    ):
        code, _, err = fit(monkeypatch, capsys, "--config", ours(f"{overlay}.yaml"))
        assert code == 2
        assert "tgp: a network must be given: by --size, by --init_from, or as model.network" in err
        assert f"{overlay}.yaml without a whole one" in err

    @pytest.mark.parametrize(
        ("word", "meant"),
        [
            ("--batch-size", "--data.text.batch"),
            ("--learning_rate", "--model.optimizer.muon_lr"),
            ("--epochs", "--trainer.max_steps"),
            ("--output", "--trainer.default_root_dir"),
        ],
    )
    def test_names_of_other_trainers_lead_to_ours(
        self, elsewhere, monkeypatch, capsys, word, meant
    ):
        code, _, err = fit(monkeypatch, capsys, word, "3")
        assert code == 2
        assert err.endswith(f"Got {word} instead. Did you mean {meant}?\n")
        _, shown, _ = fit(monkeypatch, capsys, "--size", "nano", "--print_config")
        config = yaml.safe_load(shown)
        for key in meant.lstrip("-").split("."):
            config = config[key]  # it is there

    def test_pictures_of_a_folder_of_text_are_missed_there(self, elsewhere, monkeypatch, capsys):
        (elsewhere / "a.txt").write_text(" ".join(str(n * n) for n in range(3000)))
        assert cli.main(["prepare", "data", "--text", "a.txt", "--validation_share", "0"]) == 0
        words = ("--size", "nano", "--config", ours("pictures.yaml"), "--data.folder", "data")
        code, _, err = fit(monkeypatch, capsys, *words)
        assert code == 2
        assert "data.folder must hold pictures, which a config is to learn from. Got data" in err

    @pytest.mark.parametrize(
        ("start", "part"),
        [("", "head"), ("size: nano\n", "tower"), ("init_from: exp\n", "text, tower")],
    )
    def test_a_network_of_one_s_own_is_told_which_part_it_lacks(
        self, elsewhere, monkeypatch, capsys, start, part
    ):
        network = "{class_path: Multimodal, init_args: {text: {class_path: TextTransformer}}}"
        if start:  # what they bring has the parts of another class
            monkeypatch.setattr(verb, "_network", lambda folder: [])
            network = "{class_path: DualEncoder}"
        Path("own.yaml").write_text(f"{start}model: {{network: {network}}}\n")
        code, _, err = fit(monkeypatch, capsys, "--config", "own.yaml")
        assert code == 2
        assert f"{part} must be given. Got nothing instead" in err


def commands():
    texts = [EXAMPLES, *(page.read_text("utf-8") for page in PAGES)]
    found = [m for text in texts for m in re.findall(r"\btgp fit\b[^`\n]*", text)]
    return sorted({m.split(" > ")[0].split("  ")[0].rstrip() for m in found if "..." not in m})


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")
def test_every_command_in_documents_and_configs_parses(elsewhere, monkeypatch):
    """Commands for people: parsed in a folder that holds a mine.yaml, built and run never.

    And a mine.py, the objective of the page on extending.
    """
    blocks = (REPOSITORY / "docs/extending.md").read_text("utf-8").split("```python\n")
    (objective,) = [code.split("```")[0] for code in blocks if "(Objective):" in code]
    (elsewhere / "mine.py").write_text(objective)
    monkeypatch.syspath_prepend(elsewhere)
    (elsewhere / "mine.yaml").write_text("{size: nano, data: {folder: data/mine}}")
    model = yaml.safe_load(Path(ours("nano.yaml")).read_text("utf-8"))["model"]
    stands_for = ["--config", json.dumps({"model": {"network": model["network"]}})]
    monkeypatch.setattr(verb, "_network", lambda folder: stands_for)  # there is no such folder
    monkeypatch.setattr(RunCLI, "before_instantiate_classes", lambda self: None)
    monkeypatch.setattr(RunCLI, "instantiate_classes", lambda self: None)
    monkeypatch.setattr(RunCLI, "_run_subcommand", lambda self, subcommand: None)
    parsed = 0
    for command in commands():
        words = shlex.split(command, comments=True)[2:]
        if {"--help", "--print_config=comments"} & set(words) or not words:
            continue
        options = with_configs(words[1:] if words[0] == "fit" else words)
        assert RunCLI(["fit", *options]).config.fit.data.folder
        parsed += 1
    assert parsed > 5
