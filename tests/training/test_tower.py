"""A run whose pictures teach the head and the tower at once."""

import csv

import pytest
import torch
import yaml
from test_processes import without_bias_of_keys
from test_run import QUIET, InterruptAt, start, weights

from tgp_multimodal.export import load_checkpoint, network_from_checkpoint
from tgp_multimodal.models.networks import Multimodal
from tgp_multimodal.training.callbacks import Throughput
from tgp_multimodal.training.run import RunCLI

pytestmark = QUIET


def test_an_interrupted_run_goes_on_to_the_same_bits(with_tower, tmp_path, monkeypatch):
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    cli = start(with_tower, monkeypatch)
    begun = {k: v.clone() for k, v in cli.model.network.state_dict().items()}
    whole = weights(last)
    last.unlink()
    monkeypatch.setattr(RunCLI, "extra", lambda self: [InterruptAt(3)], raising=False)
    start(with_tower, monkeypatch)
    assert weights(last)[2] == 4
    monkeypatch.setattr(RunCLI, "extra", lambda self: [])
    start(with_tower, monkeypatch, "--ckpt_path", "last")
    resumed = weights(last)
    for before, after in zip(whole[:2], resumed[:2], strict=True):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[k], after[k]) for k in before)
    assert {k for k in begun if k.startswith("tower.visual.")}
    assert whole[0]["network.tower.logit_scale"] != torch.tensor(10.0).log()


def test_what_the_run_logs_and_what_its_checkpoint_opens_as(with_tower, tmp_path, monkeypatch):
    monkeypatch.setattr(Throughput.__init__, "__defaults__", (2,))
    start(with_tower, monkeypatch)
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    names = {"draw/value", "draw/pixel_error", "match/nats", "match/found", "match/scale"}
    for split in ("train", "validation"):
        assert {f"{split}/pictures/{name}" for name in names} <= set(rows[0])
    assert all(0 < float(row["mfu"]) < 1 for row in rows if row["mfu"])
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    network = network_from_checkpoint(checkpoint)
    assert isinstance(network, Multimodal)
    assert network.tower is not None
    assert network.tower.size == 8
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["model"]["objectives"]["pictures"]["init_args"]["weights"] == {"match": 0.5}


def test_pictures_of_another_size_than_the_tower_are_named(with_tower, monkeypatch):
    larger = ("--model.network.init_args.tower.init_args.size", "16")
    with pytest.raises(ValueError, match=r"tower\.init_args\.size must be 8, .* Got 16 instead"):
        start(with_tower, monkeypatch, *larger)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the tracer of torch warns about its own look at .grad
def test_compiling_changes_neither_the_weights_nor_their_names(with_tower, tmp_path, monkeypatch):
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    start(with_tower, monkeypatch)
    eager = weights(last)[0]
    start(with_tower, monkeypatch, "--model.compile", "true")
    compiled = weights(last)[0]
    assert eager.keys() == compiled.keys()
    for name, value in eager.items():
        mine, theirs = (without_bias_of_keys(name, x) for x in (compiled[name], value))
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=0, msg=name)
