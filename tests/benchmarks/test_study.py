"""Studies: recipes over seeds, each run once."""

import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from benchmark_modules import BENCHMARKS, opened

from tgp_multimodal.evaluation.environment import code_digest

study = opened("study.py")
Study, last, table = study.Study, study.last, study.table

os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"  # Lightning still asks the old way

SPEC = {
    "question": "Which is lower?",
    "base": [],
    "steps": 10,
    "seeds": [0, 1],
    "measure": "loss",
    "recipes": {
        "tuned": {"set": {"kind": "a"}, "tune": {"rate": [1, 2, 3]}},
        "short": {"steps": 6},
    },
}


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """A study whose runs cost nothing: the loss is best at rate 2, and the seed counts."""
    calls = []

    def run(command, stdout, **_):
        words = dict(zip(command[4::2], command[5::2], strict=False))
        calls.append(words)
        rate = json.loads(words.get("--rate", "5"))
        loss = abs(rate - 2) + int(words["--seed_everything"]) / 10
        folder = Path(words["--trainer.default_root_dir"])
        (folder / "metrics.csv").write_text(f"step,loss\n1,9.0\n2,{loss}\n3,\n")

    monkeypatch.setattr(study.subprocess, "run", run)
    return Study(SPEC, tmp_path / "data", tmp_path / "out", jobs=2), calls


def test_the_code_of_training_has_a_digest_of_its_own():
    assert len(study.training_code()) == 64
    assert study.training_code() != code_digest()


def test_runs_of_another_version_of_the_code_are_named(counted, monkeypatch, capsys):
    runs, calls = counted
    found, before = runs(), len(calls)
    runs()
    assert "another version" not in capsys.readouterr().out
    monkeypatch.setattr(study, "training_code", lambda: "changed since")
    assert runs() == found
    assert len(calls) == before
    lines = capsys.readouterr().out.splitlines()
    assert sum("another version" in line for line in lines) == 7  # three of tune, four of seeds


def test_the_best_candidate_is_run_on_every_seed_and_nothing_twice(counted):
    runs, calls = counted
    found = runs()
    assert found == {"tuned": [0.0, 0.1], "short": [3.0, 3.1]}
    tuning = [c for c in calls if c["--seed_everything"] == "1000"]
    assert sorted(c["--rate"] for c in tuning) == ["1", "2", "3"]
    assert {c["--kind"] for c in calls if "--kind" in c} == {"a"}
    assert {c["--trainer.max_steps"] for c in calls} == {"10", "6"}
    before = len(calls)
    assert runs() == found
    assert len(calls) == before
    runs.recipes["short"]["steps"] = 8
    assert runs() == found
    assert [c["--trainer.max_steps"] for c in calls[before:]] == ["8", "8"]
    runs.recipes["short"]["steps"] = 6
    runs()
    before = len(calls)
    runs.spec = {**SPEC, "measure": "step"}  # another column of runs that are finished
    assert runs() == {"tuned": [3.0, 3.0], "short": [3.0, 3.0]}
    assert all("--rate" in c for c in calls[before:])  # all rates tie now; the rest was read anew
    runs.spec = {**SPEC, "base": ["--size", "tiny"]}
    runs()
    assert len(calls) > before
    before = len(calls)
    (runs.data / "text").mkdir(parents=True)
    (runs.data / "text" / "manifest.json").write_text('{"digest": "another"}')
    runs()
    assert len(calls) > before
    runs.spec = SPEC
    found = runs()
    lines = list(table(runs, found))
    assert lines[-2] == "| tuned | 10 | 2 | 0.0500 | 0.0707 | +0.00% |"
    assert lines[-1].startswith("| short | 6 | 2 | 3.0500 | 0.0707 | +6000.00%")


def test_a_candidate_that_diverges_loses_and_all_that_do_are_named(counted, monkeypatch):
    runs, _ = counted
    finish, diverge = study.subprocess.run, {"2"}

    def run(command, **given):
        words = dict(zip(command[4::2], command[5::2], strict=False))
        if words["--seed_everything"] == "1000" and words["--rate"] in diverge:
            raise study.subprocess.CalledProcessError(2, command)
        finish(command, **given)

    monkeypatch.setattr(study.subprocess, "run", run)
    runs.recipes = {"tuned": SPEC["recipes"]["tuned"]}
    assert runs() == {"tuned": [1.0, 1.1]}  # by 1 or 3, not by 2, whose loss would be 0
    diverge |= {"1", "3"}
    runs.spec = {**SPEC, "steps": 9}  # another run of each
    with pytest.raises(SystemExit, match=r"tune of tuned must have a value whose run finishes"):
        runs()


def test_a_candidate_whose_loss_is_no_number_loses(counted, monkeypatch):
    runs, _ = counted
    finish = study.subprocess.run

    def run(command, **given):
        finish(command, **given)
        words = dict(zip(command[4::2], command[5::2], strict=False))
        if words["--seed_everything"] == "1000" and words["--rate"] == "1":
            (Path(words["--trainer.default_root_dir"]) / "metrics.csv").write_text("loss\nnan\n")

    monkeypatch.setattr(study.subprocess, "run", run)
    runs.recipes = {"tuned": SPEC["recipes"]["tuned"]}
    assert runs() == {"tuned": [0.0, 0.1]}  # by 2, though 1 was the first


def test_a_run_of_a_config_that_has_changed_is_run_again(counted, tmp_path):
    runs, calls = counted
    config, head = tmp_path / "config.yaml", tmp_path / "head.yaml"
    config.write_text("a: 1")
    head.write_text("b: 1")
    recipes = {"one": {}, "other": {"set": {"model.head": str(head)}}}
    runs.spec = {**SPEC, "seeds": [0], "base": ["--config", str(config)]}
    runs.recipes = recipes
    for expected, file in ((2, None), (0, None), (2, config), (1, head), (0, None)):
        before = len(calls)
        if file:
            file.write_text("a: 2")
        runs()
        assert len(calls) - before == expected
    runs.spec = {**runs.spec, "base": [f"--config={config}", "--with"]}
    runs()
    config.write_text("a: 3")
    before = len(calls)
    runs()
    assert len(calls) - before == 2


def test_a_run_that_was_killed_is_not_taken_for_the_one_before_it(counted, monkeypatch):
    runs, calls = counted
    runs.spec, runs.recipes = {**SPEC, "seeds": [0]}, {"short": {"steps": 6}}
    found, finish = runs(), study.subprocess.run

    def killed(command, **kept):
        finish(command, **kept)
        raise KeyboardInterrupt

    runs.recipes["short"]["steps"] = 8
    monkeypatch.setattr(study.subprocess, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        runs()
    monkeypatch.setattr(study.subprocess, "run", finish)
    runs.recipes["short"]["steps"] = 6
    before = len(calls)
    assert runs() == found
    assert [c["--trainer.max_steps"] for c in calls[before:]] == ["6"]


def test_other_columns_stand_beside_the_measure(counted):
    runs, _ = counted
    runs.spec = {**SPEC, "also": ["step"]}
    lines = list(table(runs, runs()))
    assert lines[2].endswith("| to the first | step |")
    assert lines[-1].endswith("| 3 |")
    metrics = runs.output / "short" / "0" / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("step,", "steps,"))  # one recipe lacks it
    assert list(table(runs, runs()))[-1].endswith("% | - |")
    runs.spec = {**SPEC, "also": ["bits"]}
    with pytest.raises(ValueError, match=r"also must be columns of metrics.csv\. Got bits instead"):
        list(table(runs, runs()))


def test_a_study_with_other_keys_and_a_measure_that_is_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"a study must have the keys base, measure"):
        Study({**SPEC, "recipes": {"a": {"lr": 1}}}, tmp_path, tmp_path)
    (tmp_path / "metrics.csv").write_text("step,loss\n1,\n")
    with pytest.raises(ValueError, match=r"measure must be a column"):
        last(tmp_path / "metrics.csv", "loss")


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*litlogger.*")
@pytest.mark.parametrize(
    "path", sorted((BENCHMARKS / "studies").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_studies_are_studies_and_their_configs_parse(path, tmp_path, monkeypatch):
    from tgp_multimodal.models.text_transformer import TextTransformer
    from tgp_multimodal.training.run import RunCLI
    from tgp_multimodal.verbs.fit import with_configs

    monkeypatch.syspath_prepend(str(BENCHMARKS.parent))  # a study is run in the checkout
    spec = yaml.safe_load(path.read_text())
    found = Study(spec, tmp_path, tmp_path)
    commands = []
    monkeypatch.setattr(study.subprocess, "run", lambda command, **_: commands.append(command[4:]))
    monkeypatch.setattr(study, "last", lambda path, column: 1.0)
    found()
    monkeypatch.setattr("sys.argv", ["tgp fit"])
    monkeypatch.setattr(TextTransformer, "reset_parameters", lambda self: None)
    for name in spec["recipes"]:
        words = next(c for c in commands if any(f"/{name}/0" in w for w in c))
        with torch.device("meta"):  # no time for weights
            cli = RunCLI(with_configs(words), run=False)
        usual = {"pictures", "captions"} if path.stem == "pictures" else {"text"}
        given = spec["recipes"][name].get("set", {})
        assert set(cli.model.objectives) == set(given.get("model.objectives", usual))
        rules = {g["rule"] for g in cli.model.configure_optimizers().param_groups}
        assert rules == ({"adamw"} if name == "adamw" else {"muon", "adamw"})
