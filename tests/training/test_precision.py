"""What decides the arithmetic of a run, and what it costs."""

import pytest
from test_run import QUIET, products

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
    assert (len(cli.model.arithmetic.seconds) == 2) == (count == 1)
