"""Settings of the trainer and of the data are followed, or refused with a reason."""

import shutil
from pathlib import Path

import pytest
import yaml
from lightning.pytorch.strategies import Strategy
from test_run import QUIET, start

from tgp_multimodal.resources import shipped_config
from tgp_multimodal.training.refusals import check_trainer
from tgp_multimodal.training.run import RunCLI

pytestmark = QUIET


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.accumulate_grad_batches", "2"], "trainer.accumulate_grad_batches must be 1"),
        (["--trainer.limit_train_batches", "4"], "trainer.limit_train_batches must be left out"),
        (["--trainer.logger", "false"], "trainer.logger must be left out or what writes besides"),
        (["--trainer.enable_checkpointing", "true"], "checkpoints to --save_every .* Got enable_c"),
        (
            ["--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint"],
            "must leave checkpoints to --save_every .* Got ModelCheckpoint",
        ),
        (["--trainer.min_steps", "6"], "trainer.min_steps and trainer.min_epochs must be left out"),
        (["--trainer.max_steps", "-1"], "trainer.max_steps must be at least 1"),
        (["--trainer.precision", "bf16-mixed"], "trainer.precision must be left out .* Got bf16-m"),
        (["--trainer.max_epochs", "1"], "trainer.max_epochs must be left out .* Got 1 instead"),
        (["--trainer.fast_dev_run", "true"], "trainer.fast_dev_run and .* left out .* Got True"),
        (["--trainer.overfit_batches", "1"], "trainer.fast_dev_run and .* must be left out"),
        (["--trainer.gradient_clip_algorithm", "value"], "clip_algorithm must be norm"),
        (["--trainer.val_check_interval", "0"], "must be at least 1, or left out where nothing is"),
        (["--save_every", "-1"], "save_every must be at least 0. Got -1 instead"),
        (["--sample_every", "-2"], "sample_every must be at least 0. Got -2 instead"),
        (["--data.text.length", "4096"], "data.text.length must be at most 1024, the context of"),
        (["--data.pictures.longest", "65"], "data.pictures.longest must be at most 64"),
        (["--data.text.batch", "0"], r"batch of data.text must be at least 1. Got 0 instead"),
        (["--data.passages.batch", "1"], r"batch of data.passages must be at least 2. Got 1 inst"),
        (["--data.passages.weights", "prose"], r"weights must be numbers by stream.*Got 'prose'"),
        (["--data.captions", "null"], r"must be those of model.objectives \(captions, passages,"),
    ],
)
def test_what_would_go_wrong_in_silence_is_refused(arguments, monkeypatch, options, message):
    with pytest.raises(ValueError, match=message):
        start(arguments, monkeypatch, *options)


def test_a_network_without_what_is_taught_is_refused_before_anything_moves(arguments, monkeypatch):
    start(arguments, monkeypatch, "--trainer.max_steps", "1")
    folder = Path(arguments[1]).parent / "run"
    network = ["--model.network.class_path", "LanguageModel"]
    with pytest.raises(ValueError, match=r"network must have a head for FlowMatching\. Got a Lang"):
        start(arguments, monkeypatch, *network)
    assert not (folder / "earlier-1").exists()


def test_a_strategy_that_would_spread_weights_its_own_way_is_refused(arguments):
    trainer = RunCLI(arguments, run=False).trainer
    trainer.strategy.__class__ = Strategy  # the base of all
    with pytest.raises(ValueError, match=r"trainer.strategy must be one device, ddp or fsdp2. Got"):
        check_trainer(trainer)


def test_a_folder_that_was_named_must_be_there(arguments, tmp_path, monkeypatch):
    """The embedded corpus is not put into the place of data that were asked for by name."""
    (more := tmp_path / "more.yaml").write_text("data: {embedded: true}")
    missing = str(tmp_path / "mien")
    with pytest.raises(ValueError, match=r"must be a folder that `tgp prepare` wrote. Got .*mien"):
        start(arguments, monkeypatch, "--config", str(more), "--data.folder", missing)
    assert not (tmp_path / "mien").exists()


def test_a_folder_that_a_config_names_must_be_there_unless_it_wants_the_embedded_corpus(tmp_path):
    """What sizes and shipped configs say of their own folders does not count for another."""
    (mine := tmp_path / "mine.yaml").write_text("data: {folder: runs/mien}")
    (asking := tmp_path / "asking.yaml").write_text("data: {folder: runs/new, embedded: true}")
    (tmp_path / "folder.yaml").write_text("{folder: runs/mien}")
    (apart := tmp_path / "apart.yaml").write_text("data: folder.yaml")

    def is_embedded(*configs, options=()):
        words = [word for config in configs for word in ("--config", str(config))]
        return RunCLI([*words, *options], run=False).datamodule.embedded

    nano, code = shipped_config("nano.yaml"), shipped_config("code.yaml")
    assert is_embedded(nano)
    assert is_embedded(nano, asking)
    assert not is_embedded(nano, mine)
    assert not is_embedded(nano, asking, mine)
    assert not is_embedded(nano, apart)
    assert is_embedded(nano, mine, options=["--data.embedded", "true"])
    assert is_embedded(nano, mine, code)  # which names a folder of its own
    assert is_embedded(nano, '{"model": {"ema": 0.9}}')


def test_callbacks_and_loggers_that_are_given_come_on_top(arguments, tmp_path, monkeypatch):
    given = {
        "callbacks": [
            {
                "class_path": "lightning.pytorch.callbacks.LearningRateMonitor",
                "init_args": {"logging_interval": "step"},
            }
        ],
        "logger": {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(tmp_path / "more")},
        },
    }
    (path := tmp_path / "more.yaml").write_text(yaml.safe_dump({"trainer": given}))
    start(arguments, monkeypatch, "--config", str(path))
    for file in (tmp_path / "run" / "metrics.csv", *(tmp_path / "more").glob("**/metrics.csv")):
        header = file.read_text().splitlines()[0]
        assert "lr-" in header
        assert "train/text/value" in header
    assert len(list((tmp_path / "more").glob("**/metrics.csv"))) == 1


def test_sections_of_what_the_folder_does_not_hold_are_named(
    arguments, data_folder, tmp_path, monkeypatch
):
    mine = tmp_path / "mine"
    shutil.copytree(data_folder, mine, ignore=shutil.ignore_patterns("pictures"))
    with pytest.raises(
        ValueError, match=r"data.pictures must be null where the folder holds no pictures, as"
    ):
        start(arguments, monkeypatch, "--data.folder", str(mine))
