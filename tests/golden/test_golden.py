"""The curve of a short run is the golden one: no number has moved that was not meant to."""

import json

import pytest
from remake import GOLDEN, curve

RUN = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",  # Lightning against newer torch
    "ignore:.*litlogger.*",
    "ignore:.*does not have many workers.*",
)


@RUN
def test_the_losses_of_a_short_run_are_the_golden_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tgp fit"])
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning asks the old way
    golden, found = json.loads(GOLDEN.read_text("utf-8"))["curve"], curve(tmp_path)
    assert found.keys() == golden.keys()
    assert {name.split("/")[1] for name in golden} > {"text", "pictures", "passages", "captions"}
    moved = {name: found[name] for name in golden if found[name] != near(golden[name])}
    assert moved == {}, "python -m tests.golden.remake writes it anew, where that is meant"


def near(values):
    """Rounding of other processors is allowed, and nothing else."""
    return pytest.approx(values, rel=1e-3)
