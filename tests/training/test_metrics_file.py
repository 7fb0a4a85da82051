"""What a run has logged stays, however often it is stopped, started again or mistyped."""

import csv
import signal

import pytest
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_run import QUIET, InterruptAt, start

from tgp_multimodal.training import run
from tgp_multimodal.training.run import RunCLI, _make_room

pytestmark = QUIET


def steps(run):
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    return [int(r["step"]) for r in rows if r["train/text/value"]]


@pytest.fixture
def every_step(arguments):
    return [*arguments, "--trainer.log_every_n_steps", "1", "--trainer.max_steps"]


def test_a_run_that_goes_on_keeps_what_it_logged(every_step, tmp_path, monkeypatch):
    start(every_step, monkeypatch, "3")
    start(every_step, monkeypatch, "6", "--ckpt_path", "last")
    assert steps(tmp_path / "run") == list(range(6))


def test_a_line_tells_of_its_own_step(every_step, arguments, tmp_path, monkeypatch):
    def told(run):
        rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
        names = ("train/text/value", "train/gradient_norm")
        return {int(r["step"]): [r[n] for n in names] for r in rows if r[names[0]]}

    start(every_step, monkeypatch, "8")
    each = told(tmp_path / "run")
    start([*arguments, "--trainer.log_every_n_steps", "4"], monkeypatch)
    assert told(tmp_path / "run") == {step: each[step] for step in (3, 7)}


def test_a_line_tells_of_streams_that_its_step_left_out(
    every_step, arguments, tmp_path, monkeypatch
):
    def told(run):
        rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
        name = "train/captions/nats"
        return {int(r["step"]): r[name] for r in rows if r["train/text/value"]}

    start(every_step, monkeypatch, "8")
    each = told(tmp_path / "run")
    start(arguments, monkeypatch)  # captions in steps 0, 2, 4, 6; a line after 1, 3, 5, 7
    found = told(tmp_path / "run")
    assert found == {step: each[step - 1] for step in (1, 3, 5, 7)}
    assert len(set(found.values())) == 4


def test_a_stop_between_two_lines_repeats_none(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(RunCLI, "extra", lambda self: [InterruptAt(5, signal.SIGTERM)])
    stopped = start([*arguments, "--trainer.log_every_n_steps", "4"], monkeypatch)
    assert stopped.trainer.global_step == 6
    assert stopped.stop.exit_status == 143
    assert steps(tmp_path / "run") == [3]
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [event.step for event in events.Scalars("train/text/value")] == [3]


def validated(run):
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    return [int(r["step"]) + 1 for r in rows if r["validation/text/causal_nats_per_token"]]


def test_the_last_step_is_validated_but_not_that_of_a_stop(arguments, tmp_path, monkeypatch):
    start(arguments, monkeypatch, "--trainer.max_steps", "6")
    assert validated(tmp_path / "run") == [4, 6]
    monkeypatch.setattr(RunCLI, "extra", lambda self: [InterruptAt(6)])
    start(arguments, monkeypatch, "--ckpt_path", "last", "--trainer.max_steps", "10")
    assert validated(tmp_path / "run") == [4, 6]
    monkeypatch.setattr(RunCLI, "extra", lambda self: [])
    start(arguments, monkeypatch, "--ckpt_path", "last", "--trainer.max_steps", "10")
    assert validated(tmp_path / "run") == [4, 6, 8, 10]


def test_who_asks_in_the_last_step_gets_a_finished_run(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(RunCLI, "extra", lambda self: [InterruptAt(5)])
    done = start(arguments, monkeypatch, "--trainer.max_steps", "6")
    assert not done.stop.stopped
    assert validated(tmp_path / "run") == [4, 6]


def test_steps_behind_the_checkpoint_are_logged_once(every_step, tmp_path, monkeypatch):
    start(every_step, monkeypatch, "3")
    path = tmp_path / "run" / "metrics.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    place = rows[0].index("step")
    learnt = next(row for row in rows[1:] if row[rows[0].index("train/text/value")])
    # As if it had been killed two steps after its checkpoint.
    rows += [[n if i == place else value for i, value in enumerate(learnt)] for n in ("3", "4")]
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    start(every_step, monkeypatch, "6", "--ckpt_path", "last")
    assert steps(tmp_path / "run") == list(range(6))


@pytest.mark.parametrize("kept", [0.5, 1.0])
def test_a_cut_last_line_is_dropped(kept, every_step, tmp_path, monkeypatch):
    """Cut within a row, or where its line should end."""
    start(every_step, monkeypatch, "3")
    path = tmp_path / "run" / "metrics.csv"
    *lines, last = path.read_text().splitlines()
    row = next(line for line in reversed(lines) if line.count(",") == last.count(","))
    path.write_text("\n".join([*lines, last, row[: int(kept * len(row))]]))
    start(every_step, monkeypatch, "5", "--ckpt_path", "last")
    assert steps(tmp_path / "run") == list(range(5))
    assert len({len(row) for row in csv.reader(path.read_text().splitlines())}) == 1


def test_another_run_in_the_folder_moves_the_first_aside(every_step, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    start(every_step, monkeypatch, "3")
    (run / "export").mkdir()
    before = (run / "checkpoints" / "last.ckpt").read_bytes()
    start(every_step, monkeypatch, "2")
    assert "was moved to" in capsys.readouterr().err
    assert steps(run) == [0, 1]
    assert steps(run / "earlier-1") == [0, 1, 2]
    assert (run / "earlier-1" / "checkpoints" / "last.ckpt").read_bytes() == before
    assert (run / "earlier-1" / "config.yaml").is_file()
    assert (run / "earlier-1" / "export").is_dir()
    assert not (run / "export").exists()
    start(every_step, monkeypatch, "1")
    assert steps(run / "earlier-2") == [0, 1]


def test_a_run_that_saved_nothing_is_moved_aside_too(tmp_path, capsys):
    """Its curves would be drawn as those of the next run."""
    for name in ("metrics.csv", "events.out.tfevents.1"):
        (tmp_path / name).touch()
    _make_room(tmp_path, None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["earlier-1"]
    assert "was moved to" in (told := capsys.readouterr().err)
    assert "it had saved no checkpoint" in told


@pytest.mark.parametrize("inside", ["export", "export/encoder"])
def test_what_a_run_starts_from_stays_where_it_is(tmp_path, inside, capsys):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "export" / "encoder").mkdir(parents=True)
    _make_room(tmp_path, str(tmp_path / inside))
    assert (tmp_path / "earlier-1" / "checkpoints" / "last.ckpt").is_file()
    assert (tmp_path / inside).is_dir()
    capsys.readouterr()


def test_of_several_processes_one_makes_room_and_all_know_where_home_is(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    run._make_room(tmp_path, None)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    config = {"model": {"init_from": "~no-one/a"}, "data": {"folder": "~/x"}, "trainer": {}}
    run._expand_home(config)
    assert not config["data"]["folder"].startswith("~")
    assert config["model"]["init_from"] == "~no-one/a"  # a folder of that name


def test_a_mistyped_checkpoint_changes_nothing(every_step, tmp_path, monkeypatch):
    start(every_step, monkeypatch, "2")
    wanted = r"ckpt_path must be last or a whole checkpoint\. Got runs/nope\.ckpt instead"
    with pytest.raises(ValueError, match=wanted):
        start(every_step, monkeypatch, "4", "--ckpt_path", "runs/nope.ckpt")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    (half := tmp_path / "half.ckpt").write_bytes(last.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"Got .*half\.ckpt, which is damaged, instead"):
        start(every_step, monkeypatch, "4", "--ckpt_path", str(half))
    assert steps(tmp_path / "run") == [0, 1]


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--data.text.lenght", "64", r"data\.text .* Got lenght instead; .* Did you mean length\?"),
        (
            "--data.passages.bach",
            "8",
            r"data\.passages .* Got bach instead; .* Did you mean batch\?",
        ),
        ("--data.text", "{batch: 2}", r"data\.text must have weights, length\. Got none"),
    ],
)
def test_keys_of_a_section_are_checked(option, value, complaint, arguments, monkeypatch):
    with pytest.raises(ValueError, match=complaint):
        start(arguments, monkeypatch, option, value)


_SIZE = "--model.network.init_args.head.init_args.size"
_VOCABULARY = "--model.network.init_args.text.init_args.vocabulary"


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--data.text.lenght", "64", "Got lenght instead"),
        ("--data.captions", "null", r"must be those of model\.objectives"),
        (_VOCABULARY, "300", r"must be at least the tokenizer's 320\. Got 300"),
        (_SIZE, "16", r"head\.init_args\.size must be 8"),
    ],
)
def test_a_new_run_that_cannot_start_leaves_the_old_one_where_it_was(
    every_step, tmp_path, monkeypatch, option, value, complaint
):
    start(every_step, monkeypatch, "2")
    automatic = ("--model.precision", "auto")  # which tries a step before the run starts
    with pytest.raises(ValueError, match=complaint):
        start(every_step, monkeypatch, "2", option, value, *automatic)
    assert steps(tmp_path / "run") == [0, 1]
    assert not (tmp_path / "run" / "earlier-1").exists()


def test_going_on_from_the_run_moved_aside_moves_the_newer_one(every_step, tmp_path, monkeypatch):
    run = tmp_path / "run"
    start(every_step, monkeypatch, "3")
    start(every_step, monkeypatch, "1")
    first = run / "earlier-1" / "checkpoints" / "last.ckpt"
    with pytest.raises(ValueError, match="Got lenght instead"):
        start(every_step, monkeypatch, "5", "--ckpt_path", str(first), "--data.text.lenght", "64")
    deeper = ("--model.network.init_args.text.init_args.depth", "3")
    with pytest.raises(ValueError, match="network must be the one of the checkpoint"):
        start(every_step, monkeypatch, "5", "--ckpt_path", str(first), *deeper)
    assert steps(run) == [0]  # still there
    start(every_step, monkeypatch, "5", "--ckpt_path", str(first))
    assert steps(run) == [3, 4]
    assert steps(run / "earlier-2") == [0]
