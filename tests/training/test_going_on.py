"""What a run writes down does not depend on where it was stopped."""

import csv
import signal

import pytest
from test_run import QUIET, InterruptAt, start

from tgp_multimodal.cli import main
from tgp_multimodal.training.run import RunCLI

pytestmark = QUIET

TIMED = ("_per_second", "mfu")


def written(run):
    """All lines of `metrics.csv` in their order, without what a clock says."""
    rows = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    return [{k: v for k, v in row.items() if v and not k.endswith(TIMED)} for row in rows]


@pytest.fixture
def fit(arguments, monkeypatch):
    """Starts the run of `arguments`, with a line every four steps; stopped in a step if wanted."""

    def started(*more, stop_in=None, number=signal.SIGTERM):
        stops = [] if stop_in is None else [InterruptAt(stop_in, number)]
        monkeypatch.setattr(RunCLI, "extra", lambda self: stops)
        return start([*arguments, "--trainer.log_every_n_steps", "4", *more], monkeypatch)

    return started


@pytest.mark.parametrize("last", [3, 7, 8, 9])
def test_a_run_that_was_stopped_and_went_on_writes_the_same(last, fit, tmp_path):
    """Behind step 8 a validation is due, and a line."""
    fit("--trainer.max_steps", "12")
    whole = written(tmp_path / "run")
    assert [row["step"] for row in whole] == ["3", "3", "7", "7", "11", "11"]
    fit("--trainer.max_steps", "12", stop_in=last - 1)
    fit("--trainer.max_steps", "12", "--ckpt_path", "last")
    assert written(tmp_path / "run") == whole


def test_an_interval_counts_steps_whatever_is_said_of_epochs(fit, tmp_path):
    epochs = ("--trainer.check_val_every_n_epoch", "1", "--trainer.max_steps", "12")
    fit(*epochs)
    whole = written(tmp_path / "run")
    fit(*epochs, stop_in=5)
    fit(*epochs, "--ckpt_path", "last")
    assert written(tmp_path / "run") == whole


def test_a_stop_before_the_first_line_writes_none(fit, tmp_path):
    fit(stop_in=2)
    assert not (tmp_path / "run" / "metrics.csv").exists()
    fit("--ckpt_path", "last")
    assert [row["step"] for row in written(tmp_path / "run")] == ["3", "3", "7", "7"]


def test_a_validation_that_a_killed_run_had_written_is_not_done_again(fit, tmp_path):
    """A checkpoint is older than the validation behind its step."""
    fit("--trainer.max_steps", "8", "--save_every", "4")
    before = written(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "last.ckpt").unlink()  # killed before step 8 was saved
    fit("--trainer.max_steps", "8", "--ckpt_path", "last")
    assert written(tmp_path / "run") == before


def test_a_longer_run_behind_a_finished_one_keeps_its_count(fit, tmp_path):
    fit("--trainer.max_steps", "8")
    fit("--trainer.max_steps", "14", "--ckpt_path", "last")
    found = [row["step"] for row in written(tmp_path / "run")]
    assert found == ["3", "3", "7", "7", "11", "11", "13"]


def test_a_folder_below_home_is_one_folder(fit, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fit("--trainer.max_steps", "2", "--trainer.default_root_dir=~/mine")
    assert {"checkpoints", "config.yaml"} <= {p.name for p in (tmp_path / "mine").iterdir()}
    assert not (tmp_path / "~").exists()


def test_another_folder_begins_with_the_validation_of_its_start(fit, tmp_path):
    fit("--trainer.max_steps", "4")
    first, start_from = tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.ckpt"
    fit("--ckpt_path", str(start_from), "--trainer.default_root_dir", str(tmp_path / "other"))
    assert [row["step"] for row in written(tmp_path / "other")] == ["3", "7", "7"]
    assert written(tmp_path / "other")[0] == written(first)[1]


@pytest.mark.parametrize("steps", [8, 3])
def test_a_run_that_has_no_step_left_says_so_and_changes_nothing(
    fit, arguments, capsys, tmp_path, steps
):
    fit()
    (tmp_path / "run" / "export").mkdir()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["fit", *arguments, "--ckpt_path", "last", "--trainer.max_steps", str(steps)])
    assert end.value.code == 0
    told = capsys.readouterr()
    assert f"last.ckpt is at step 8 and trainer.max_steps is {steps}" in told.err
    assert told.out == ""
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before


def test_an_export_that_training_has_left_behind_is_told(fit, arguments, capsys, tmp_path):
    fit()
    (tmp_path / "run" / "export").mkdir()
    longer = ["--trainer.max_steps", "9", "--ckpt_path", "last"]
    assert main(["fit", *arguments, *longer]) == 0
    assert f"{tmp_path / 'run'}/export is of an earlier step" in capsys.readouterr().out
