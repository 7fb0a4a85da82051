from unittest.mock import MagicMock

import pytest
import yaml

from tgp_multimodal.resources import shipped
from tgp_multimodal.training import checkpoints, run
from tgp_multimodal.training.budget import Budget
from tgp_multimodal.verbs import quickstart as verb


@pytest.mark.parametrize(("seconds", "is_short"), [(0.2, False), (2.0, True)])
def test_a_short_plan_says_what_it_lacks(tmp_path, monkeypatch, capsys, seconds, is_short):
    monkeypatch.setattr("sys.argv", ["tgp"])
    (cli := MagicMock()).stop.asked, cli.seconds_per_step = False, seconds
    monkeypatch.setattr(run, "RunCLI", lambda *given, **named: cli)
    monkeypatch.setattr(checkpoints, "newest", lambda folder: None)
    config = verb._config_path("configs/quickstart.yaml")
    verb._pretrain(tmp_path, config, Budget(12), None)
    assert ("here with --fresh --minutes 43" in capsys.readouterr().out) == is_short


def test_a_run_that_goes_on_keeps_its_number_of_steps(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": {"max_steps": 730}}))
    assert verb._planned(tmp_path) == 730


@pytest.mark.parametrize(
    ("begun", "steps", "is_timed"),
    [(None, None, True), (None, 30, False), ("last.ckpt", None, False), ("last.ckpt", 30, False)],
)
def test_a_step_is_measured_only_to_plan_with_it(tmp_path, monkeypatch, begun, steps, is_timed):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": {"max_steps": 30}}))
    monkeypatch.setattr("sys.argv", ["tgp"])
    (cli := MagicMock()).stop.asked, cli.seconds_per_step = False, 1.0
    monkeypatch.setattr(run, "RunCLI", lambda *given, **named: cli)
    monkeypatch.setattr(checkpoints, "newest", lambda folder: begun)
    verb._pretrain(tmp_path, verb._config_path("configs/quickstart.yaml"), Budget(1.0, 0.0), steps)
    cli.prepare.assert_called_once_with(is_timed=is_timed, is_resumed=begun is not None)


def test_who_asks_to_stop_in_the_last_step_waits_for_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tgp"])
    (cli := MagicMock()).stop.configure_mock(asked=True, stopped=False, exit_status=130)
    monkeypatch.setattr(run, "RunCLI", lambda *given, **named: cli)
    with pytest.raises(SystemExit) as left:
        verb._pretrain(tmp_path, verb._config_path("configs/quickstart.yaml"), Budget(1.0, 0.0), 30)
    assert left.value.code == 130
    assert "go on with the same command" in capsys.readouterr().err


def test_no_time_at_all_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"minutes must be above 0. Got 0 instead"):
        verb.quickstart(str(tmp_path), minutes=0)


@pytest.mark.parametrize("name", ["pixels", "xz-trained"])
def test_a_model_is_not_called_like_a_baseline(tmp_path, name):
    with pytest.raises(ValueError, match=r"folder must not be called like a baseline \(majority, "):
        verb.quickstart(str(tmp_path / name))


@pytest.mark.parametrize(
    ("names", "is_gone"),
    [
        (["manifest.json"], False),
        (["manifest.json", "config.yaml"], False),
        (["manifest.json", "checkpoints/last.ckpt"], False),
        (["data/tokenizer/notes.md"], False),
        (["manifest.json", "config.yaml", "checkpoints/last.ckpt"], True),
        (["data/tokenizer/tokenizer.json"], True),
    ],
)
def test_a_fresh_start_deletes_runs_alone(tmp_path, monkeypatch, names, is_gone):
    class BegunError(Exception):
        """What comes behind the deletion."""

    def begin(_):
        raise BegunError

    monkeypatch.setattr(verb, "_prepare", begin)
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    refusal = (ValueError, r"folder must be new or a run's\. Got")
    error, message = (BegunError, None) if is_gone else refusal
    with pytest.raises(error, match=message):
        verb.quickstart(str(tmp_path), fresh=True)
    assert all((tmp_path / name).exists() != is_gone for name in names)


def test_a_config_that_is_not_there_is_refused_before_anything_is_done(tmp_path):
    (tmp_path / "run" / "data" / "tokenizer").mkdir(parents=True)
    (tmp_path / "run" / "data" / "tokenizer" / "tokenizer.json").touch()
    assert verb._config_path("nano.yaml").samefile(shipped("configs", "nano.yaml"))
    for fresh in (False, True):
        for config in ("configs/no.yaml", ".", ""):
            with pytest.raises(FileNotFoundError, match=r"config must be a file\. Got .* instead"):
                verb.quickstart(str(tmp_path / "run"), config=config, fresh=fresh)
    (tmp_path / "run" / "config.yaml").touch()
    own = str(tmp_path / "run" / "config.yaml")
    with pytest.raises(ValueError, match="config must lie outside a folder that is begun afresh"):
        verb.quickstart(str(tmp_path / "run"), config=own, fresh=True)
    assert (tmp_path / "run" / "data" / "tokenizer" / "tokenizer.json").is_file()
