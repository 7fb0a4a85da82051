import csv
import json
import os
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch
import yaml
from lightning.pytorch import Callback

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.pipeline import open_stream
from tgp_multimodal.data.prepared import MANIFEST
from tgp_multimodal.data.scene_language import AXES, prompts
from tgp_multimodal.data.scenes import Scene, Thing, render
from tgp_multimodal.export import load_checkpoint, network_from_checkpoint
from tgp_multimodal.objectives.passage_contrast import PassageContrast
from tgp_multimodal.training import precision
from tgp_multimodal.training.callbacks import Throughput
from tgp_multimodal.training.precision import fastest
from tgp_multimodal.training.run import RunCLI

QUIET = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",  # Lightning against newer torch
    "ignore:.*litlogger.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*exists and is not empty.*",
    "ignore:.*weights_only.*",
)
pytestmark = QUIET


def start(arguments, monkeypatch, *more):
    monkeypatch.setattr("sys.argv", ["tgp fit"])
    return RunCLI(["fit", *arguments, *more])


def weights(path):
    checkpoint = load_checkpoint(path)
    return checkpoint["state_dict"], checkpoint["ema"], checkpoint["global_step"]


class InterruptAt(Callback):
    """Presses Ctrl-C in the middle of a step, or sends another signal."""

    def __init__(self, step, number=signal.SIGINT):
        self.step, self.number = step, number

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def test_a_run_leaves_everything_in_its_folder(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(Throughput.__init__, "__defaults__", (2,))
    start(arguments, monkeypatch, "--sample_every", "4")
    run = tmp_path / "run"
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"] == 8
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["precision"] == "float32"
    assert set(manifest["data"]) == {"text", "pictures"}
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert {"train/text/value", "train/pictures/value", "train/passages/nats"} <= set(rows[0])
    assert all(0 < float(row["mfu"]) < 1 for row in rows if row["mfu"])
    assert any(row["validation/text/causal_nats_per_token"] for row in rows)
    assert sorted(p.name for p in (run / "samples").iterdir()) == [
        "step_000004.png",
        "step_000008.png",
    ]
    assert list(run.glob("events.*"))
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["last.ckpt"]  # nothing half done


def test_scenes_are_checked_on_the_way(arguments, tmp_path, monkeypatch):
    """A network that draws a red square on white, whatever it is asked for."""

    def draw(network, tokenizer, texts, drawing):
        scene = Scene((Thing("square", "red", 0.5, 0.5, 0.5),), "white")
        return [render(scene) for _ in texts]

    monkeypatch.setattr("tgp_multimodal.training.callbacks.draw", draw)
    start(arguments, monkeypatch, "--scene_eval_every", "3", "--sample_every", "1000")
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    found = [r["scene_eval/single_object"] for r in rows if r["scene_eval/single_object"]]
    assert len(found) == 3  # after steps 3 and 6, and at the end
    right = sum("square" in p.text for p in prompts("single_object", 16, seed=0)) / 16
    assert float(found[0]) == pytest.approx(right)
    assert 0.2 < right < 0.5
    assert {f"scene_eval/{axis}" for axis in AXES} <= set(rows[0])


@pytest.mark.parametrize("steps", ["1", "3"])
def test_the_last_step_learns_too(arguments, tmp_path, monkeypatch, steps):
    start(arguments, monkeypatch, "--trainer.max_steps", steps)
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert all(group["lr"] > 0 for group in checkpoint["optimizer_states"][0]["param_groups"])


def test_an_interrupted_run_goes_on_to_the_same_bits(arguments, tmp_path, monkeypatch):
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    start(arguments, monkeypatch)
    whole = weights(last)
    last.unlink()
    monkeypatch.setattr(RunCLI, "extra", lambda self: [InterruptAt(3)], raising=False)
    stopped = start(arguments, monkeypatch)
    assert stopped.stop.stopped
    assert weights(last)[2] == 4
    monkeypatch.setattr(RunCLI, "extra", lambda self: [])
    start(arguments, monkeypatch, "--ckpt_path", "last")
    resumed = weights(last)
    assert resumed[2] == whole[2] == 8
    for before, after in zip(whole[:2], resumed[:2], strict=True):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[k], after[k]) for k in before)


def test_a_run_goes_on_at_the_rates_it_is_given_now(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(RunCLI, "extra", lambda self: [InterruptAt(3)])
    start(arguments, monkeypatch)
    monkeypatch.setattr(RunCLI, "extra", lambda self: [])
    lower = ["--model.optimizer.muon_lr", "0.005", "--model.optimizer.weight_decay", "0.1"]
    cli = start(arguments, monkeypatch, "--ckpt_path", "last", *lower)
    groups = {g["name"]: g for g in cli.trainer.optimizers[0].param_groups}
    assert (groups["muon"]["peak_lr"], groups["muon"]["weight_decay"]) == (0.005, 0.1)
    assert groups["rest"]["peak_lr"] == 3e-3
    saved = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert saved["optimizer_states"][0]["param_groups"][0]["peak_lr"] == 0.005


def test_an_arithmetic_that_is_named_counts_for_a_run_that_goes_on(arguments, monkeypatch):
    start(arguments, monkeypatch, "--model.precision", "float32", "--trainer.max_steps", "2")
    found = []
    for name in ("auto", "bfloat16"):
        given = ["--ckpt_path", "last", "--model.precision", name, "--trainer.max_steps"]
        cli = start(arguments, monkeypatch, *given, str(len(found) + 3))
        found.append((cli.model.arithmetic.name, cli.trainer.optimizers[0].dtype))
    assert found == [("float32", torch.float32), ("bfloat16", torch.bfloat16)]


def test_a_run_goes_on_with_a_text_rate_or_without_one(arguments, monkeypatch):
    start(arguments, monkeypatch, "--trainer.max_steps", "1")
    with pytest.raises(ValueError, match=r"text_rate must be 1 where it was 1 in the checkpoint"):
        start(
            arguments, monkeypatch, "--ckpt_path", "last", "--model.optimizer.text_rate", "0.5",
            "--trainer.max_steps", "2",
        )  # fmt: skip


def test_a_checkpoint_opens_as_a_network_without_code(arguments, tmp_path, monkeypatch):
    cli = start(arguments, monkeypatch, "--trainer.max_steps", "2")
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    network = network_from_checkpoint(checkpoint)
    average = cli.model.ema_weights
    assert all(torch.equal(v, average[k]) for k, v in network.state_dict().items())


def test_training_on_one_batch_learns_it(arguments, monkeypatch):
    cli = start(arguments, monkeypatch, "--trainer.max_steps", "1")
    batch = cli.datamodule.first_batch()
    module = cli.model
    optimizer = module.configure_optimizers()
    losses = []
    for _ in range(60):
        loss = module._losses(batch, 0.0, 0, module.objectives)[0]
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.6 * losses[0]


def test_last_without_a_checkpoint_and_a_foreign_network_are_named(
    arguments, tmp_path, monkeypatch
):
    with pytest.raises(ValueError, match=r"ckpt_path last must have a whole checkpoint in"):
        start(arguments, monkeypatch, "--ckpt_path", "last")
    start(arguments, monkeypatch, "--trainer.max_steps", "1")
    deeper = "--model.network.init_args.text.init_args.depth"
    told = r"network must be the one of the checkpoint\. Got text.depth 3 \(there: 2\) instead"
    with pytest.raises(ValueError, match=told):
        start(arguments, monkeypatch, "--ckpt_path", "last", deeper, "3")


def test_a_run_goes_on_with_its_own_tokenizer_alone(arguments, tmp_path, monkeypatch):
    start(arguments, monkeypatch, "--trainer.max_steps", "1")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint = load_checkpoint(last)
    own = checkpoint.pop("tokenizer")
    torch.save({**checkpoint, "tokenizer": "another"}, last)
    wanted = rf"must have the tokenizer of the checkpoint, another\. Got {own} instead"
    with pytest.raises(ValueError, match=wanted):
        start(arguments, monkeypatch, "--trainer.max_steps", "2", "--ckpt_path", "last")
    torch.save(checkpoint, last)  # as an older version wrote it
    start(arguments, monkeypatch, "--trainer.max_steps", "2", "--ckpt_path", "last")
    assert load_checkpoint(last)["tokenizer"] == own


def test_nothing_is_written_every_zero_steps(arguments, tmp_path, monkeypatch):
    never = ["--sample_every", "0", "--save_every", "0", "--trainer.log_every_n_steps", "0"]
    start(arguments, monkeypatch, *never)
    run = tmp_path / "run"
    assert not (run / "samples").exists()
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_a_ramp_is_of_training_alone(data_folder):
    ramp = [{"until": 2, "length": 12, "batch": 8}]
    text = {"weights": {"prose": 1.0}, "infill": {}, "length": 24, "batch": 4, "ramp": ramp}
    tokenizer = tokenizers.load(data_folder / "tokenizer")
    shapes = {}
    for split in ("train", "validation"):
        batches = open_stream(data_folder, split, tokenizer, text, None, 0).batches()
        shapes[split] = [next(batches)["text"].token_BL.shape for _ in range(3)]
    assert shapes == {"train": [(8, 13), (8, 13), (4, 25)], "validation": [(4, 25)] * 3}


def test_a_stream_is_learned_from_as_often_as_asked(arguments, monkeypatch):
    passages, captions, learn = [], [], PassageContrast.loss

    def watched(self, network, batch, progress, seed):
        if torch.is_grad_enabled():
            (captions if self.is_causal else passages).append(seed)
        return learn(self, network, batch, progress, seed)

    monkeypatch.setattr(PassageContrast, "loss", watched)
    start(arguments, monkeypatch)
    assert passages == [0, 3, 6]  # at seed 0, the step itself
    assert captions == [0, 2, 4, 6]


class Explode(Callback):
    """Makes every gradient infinite."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        for weight in pl_module.network.parameters():
            if weight.grad is not None:
                weight.grad.fill_(float("inf"))


def test_a_run_of_broken_gradients_ends_with_a_sentence(arguments, monkeypatch):
    monkeypatch.setattr(RunCLI, "extra", lambda self: [Explode()])
    with pytest.raises(ValueError, match=r"must be fewer than spikes=3 .* the last of norm inf"):
        start(arguments, monkeypatch, "--model.optimizer.spikes", "3")


def test_streams_that_leave_a_step_empty_are_refused(arguments, monkeypatch):
    every = ("--model.every", '{"text": 2, "pictures": 2, "passages": 3, "captions": 2}')
    with pytest.raises(ValueError, match=r"every must be at least 1, and 1 for one objective"):
        start(arguments, monkeypatch, *every)
    with pytest.raises(ValueError, match=r"every must name objectives .* Got \['sound'\] instead"):
        start(arguments, monkeypatch, "--model.every", '{"sound": 2}')


def products(monkeypatch, float32, bfloat16):
    """Plants the seconds of a product."""
    seconds = {torch.float32: float32, torch.bfloat16: bfloat16}
    monkeypatch.setattr(precision, "product_seconds", lambda x, other: seconds[x.dtype])


class Clock:
    """The one that steps are measured by; a test moves it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: self.now))


@pytest.mark.parametrize("bfloat16", [1.5, 0.25])
def test_the_measured_step_counts_a_stream_by_its_share(monkeypatch, bfloat16):
    products(monkeypatch, 1.0, bfloat16)
    clock = Clock(monkeypatch)
    holder = torch.nn.Linear(1, 1)

    def loss(seconds):
        def run():
            clock.now += seconds
            return holder(torch.ones(1)).sum()

        return run

    chosen = fastest([(loss(0.02), 1.0), (loss(0.08), 0.25)], holder, is_timed=True)
    assert chosen.seconds[chosen.name] == pytest.approx(0.04)
    assert holder.weight.grad is None


@pytest.mark.parametrize(
    ("bfloat16", "is_several", "answer", "calls"),
    [
        (0.25, False, "bfloat16", []),  # a unit for it: one product tells
        (9.0, False, "float32", []),  # nothing of the kind
        (1.5, False, "float32", ["float32"] * 3 + ["bfloat16"]),  # one pass is enough
        (1.5, True, "float32", ["float32"] * 6 + ["bfloat16"]),  # of the first stream
    ],
)  # fmt: skip
def test_steps_are_tried_only_where_a_product_does_not_tell(
    bfloat16, is_several, answer, calls, monkeypatch
):
    products(monkeypatch, 1.0, bfloat16)
    clock, holder, tried = Clock(monkeypatch), torch.nn.Linear(1, 1), []

    def run():
        tried.append(holder.arithmetic.name)
        clock.now += 0.2 if holder.arithmetic.name == "bfloat16" else 0.01
        return holder(torch.ones(1)).sum()

    assert fastest([(run, 1.0), (run, 0.25)][: 1 + is_several], holder).name == answer
    assert tried == calls


def test_the_embedded_corpus_comes_in_the_size_of_the_network(arguments, tmp_path, monkeypatch):
    asked = []

    def prepare(folder, **settings):
        asked.append(settings)
        raise ValueError("enough")

    monkeypatch.setattr("tgp_multimodal.training.datamodules.prepare_embedded", prepare)
    where = ["--data.embedded", "true", "--data.folder", str(tmp_path / "new")]
    for size in ("16", "24"):
        with pytest.raises(ValueError, match="enough"):
            start(
                [*arguments, *where, "--model.network.init_args.head.init_args.size", size],
                monkeypatch,
            )
    assert asked == [{"size": 16}, {"size": 24}]


def test_shares_deep_in_a_setting_may_come_from_the_command_line(arguments, monkeypatch):
    cli = RunCLI([*arguments, "--data.text.infill.code", "0.7"], run=False)
    assert cli.datamodule.text["infill"] == {"code": 0.7}
    with pytest.raises(ValueError, match=r"data.text.infill.code must be a number. Got 'much'"):
        start(arguments, monkeypatch, "--data.text.infill.code", "much")


def test_a_vocabulary_below_the_tokenizers_is_named(arguments, monkeypatch):
    smaller = "--model.network.init_args.text.init_args.vocabulary"
    with pytest.raises(ValueError, match=r"must be at least the tokenizer's 320. Got 300"):
        start(arguments, monkeypatch, smaller, "300")


def test_data_without_a_validation_split_need_a_run_without_validation(
    arguments, data_folder, tmp_path, monkeypatch
):
    start(arguments, monkeypatch, "--trainer.max_steps", "1")
    shutil.copytree(data_folder, tmp_path / "data")
    for kind in ("text", "pictures"):
        manifest = json.loads((path := tmp_path / "data" / kind / MANIFEST).read_text())
        del manifest["splits"]["validation"]
        path.write_text(json.dumps(manifest))
    options = ["--data.folder", str(tmp_path / "data"), "--sample_every", "4"]
    wanted = r"validation split .*validation_share.*limit_val_batches 0\)\. Got train alone"
    with pytest.raises(ValueError, match=wanted):
        start(arguments, monkeypatch, *options)
    assert not (tmp_path / "run" / "earlier-1").exists()
    start(arguments, monkeypatch, *options, "--trainer.limit_val_batches", "0")
    assert weights(tmp_path / "run" / "checkpoints" / "last.ckpt")[2] == 8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the tracer of torch warns about its own look at .grad
def test_compiling_changes_neither_the_weights_nor_their_names(arguments, tmp_path, monkeypatch):
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    start(arguments, monkeypatch)
    eager = weights(last)[0]
    start(arguments, monkeypatch, "--model.compile", "true")
    compiled = weights(last)[0]
    assert eager.keys() == compiled.keys()
    assert all(torch.allclose(eager[k], compiled[k], atol=1e-3) for k in eager)
