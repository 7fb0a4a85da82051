"""What decides the arithmetic of a run, and what it costs."""

import pytest
import torch
from test_run import QUIET, products, start

from tgp_multimodal.training import datamodules
from tgp_multimodal.training import precision as arithmetic
from tgp_multimodal.training.datamodules import StreamData
from tgp_multimodal.training.run import RunCLI

pytestmark = QUIET


@pytest.fixture
def reads(monkeypatch):
    """A list that grows with every batch that is read to measure on."""
    read, first_batch = [], StreamData.first_batch
    monkeypatch.setattr(
        StreamData, "first_batch", lambda self: read.append(self) or first_batch(self)
    )
    return read


@pytest.mark.parametrize(
    ("precision", "bfloat16", "count"),
    [("bfloat16", 1.5, 0), ("auto", 0.25, 0), ("auto", 1.5, 1)],
)
def test_a_batch_is_read_only_to_measure(arguments, monkeypatch, reads, precision, bfloat16, count):
    products(monkeypatch, 1.0, bfloat16)
    cli = RunCLI([*arguments, "--model.precision", precision], run=False)
    cli.prepare()
    assert len(reads) == count
    assert bool(cli.model.arithmetic.seconds) == (count == 1)


def test_the_training_stream_is_opened_once(arguments, monkeypatch):
    products(monkeypatch, 1.0, 1.5)
    opened, open_stream = [], datamodules.open_stream
    monkeypatch.setattr(
        datamodules,
        "open_stream",
        lambda folder, split, *more, **named: (
            opened.append(split) or open_stream(folder, split, *more, **named)
        ),
    )
    start(arguments, monkeypatch, "--model.precision", "auto", "--trainer.max_steps", "2")
    assert opened.count("train") == 1


@pytest.mark.parametrize(("can", "answer"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_is_timed_in_the_one_arithmetic_that_it_would_take(
    arguments, monkeypatch, reads, can, answer
):
    cli = RunCLI([*arguments, "--model.precision", "auto"], run=False)
    moved = []
    monkeypatch.setattr(type(cli.trainer.strategy), "root_device", torch.device("cuda"))
    monkeypatch.setattr(cli.model, "to", moved.append)  # there is none here
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: can)
    monkeypatch.setattr(arithmetic, "_candidates", None)  # nothing is compared
    cli.prepare(is_timed=True)
    assert moved == [torch.device("cuda")]
    assert len(reads) == 1
    assert list(cli.model.arithmetic.seconds) == [cli.model.arithmetic.name] == [answer]


def test_a_fixed_arithmetic_is_timed_where_seconds_are_wanted(arguments, reads):
    cli = RunCLI([*arguments, "--model.precision", "float32"], run=False)
    cli.prepare(is_timed=True)
    assert cli.seconds_per_step == cli.model.arithmetic.seconds["float32"]


def test_nothing_is_measured_for_a_run_that_goes_on(arguments, monkeypatch, reads):
    products(monkeypatch, 1.0, 1.5)
    cli = RunCLI([*arguments, "--model.precision", "auto"], run=False)
    cli.prepare(is_resumed=True)
    assert (reads, cli.model.arithmetic) == ([], None)  # the checkpoint brings it
