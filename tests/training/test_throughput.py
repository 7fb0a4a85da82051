"""The rates of a run of several processes are those of all of them together."""

import sys
from types import SimpleNamespace

import pytest
import torch
from test_run import QUIET, start

from tgp_multimodal.training import callbacks
from tgp_multimodal.training.callbacks import Pauses, Throughput
from tgp_multimodal.training.console import StepBar

pytestmark = QUIET


@pytest.mark.parametrize("processes", [1, 4])
def test_rates_are_of_all_processes_and_the_share_is_of_one_device(processes, monkeypatch):
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: 2.0)  # two seconds after 0
    logged = {}
    module = SimpleNamespace(
        flops=lambda batch, step: 6 * 10**12,
        log_dict=lambda rates, batch_size: logged.update(rates),
    )
    trainer = SimpleNamespace(
        global_step=1, max_steps=9, world_size=processes, is_global_zero=False,
        strategy=SimpleNamespace(reduce=lambda loss: loss),
    )  # fmt: skip
    watch = Throughput(every=1)
    watch.peak = 12e12
    batch = {"text": SimpleNamespace(token_BL=torch.zeros(2, 9))}
    watch.on_train_batch_end(trainer, module, {"loss": torch.ones(())}, batch, 0)
    assert logged == {
        "tokens_per_second": 8 * processes,
        "teraflops_per_second": 3 * processes,
        "mfu": 0.25,
    }


def test_what_is_no_training_counts_in_no_rate(monkeypatch):
    now, logged = [0.0], []
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    module = SimpleNamespace(
        flops=lambda batch, step: 0, log_dict=lambda rates, batch_size: logged.append(rates)
    )
    trainer = SimpleNamespace(
        global_step=0, max_steps=9, world_size=1, is_global_zero=False,
        strategy=SimpleNamespace(reduce=lambda loss: loss),
    )  # fmt: skip
    watch, batch = Throughput(every=2), {"text": SimpleNamespace(token_BL=torch.zeros(2, 9))}
    pauses = Pauses(watch)
    for step in range(1, 7):
        now[0] += 1.0  # a step
        trainer.global_step = step
        given = (trainer, module, {"loss": torch.ones(())}, batch, step)
        watch.on_train_batch_end(*given)
        now[0] += 5.0  # a sheet and a checkpoint
        pauses.on_train_batch_end(*given)
        if step in (2, 5):
            watch.on_validation_start(trainer, module)
            now[0] += 30.0
            watch.on_validation_end(trainer, module)
    assert logged == [{"tokens_per_second": 2 * 16 / 2}] * 3


def test_on_a_terminal_there_is_a_bar_and_no_line(monkeypatch, capsys):
    bar, trainer = StepBar("pretraining"), SimpleNamespace(global_step=3, max_steps=9)
    bar.start(trainer)
    bar.update(4, "loss 1.000")
    bar.stop()
    assert not bar.is_shown
    assert not capsys.readouterr().out
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    bar.start(trainer)
    bar.update(4, "loss 1.000")
    bar.update(9)  # what is said stays
    bar.stop()
    assert bar.is_shown
    assert "9/9 steps loss 1.000" in capsys.readouterr().out
    trainer = SimpleNamespace(
        global_step=4, max_steps=9, world_size=1, is_global_zero=True,
        strategy=SimpleNamespace(reduce=lambda loss: loss),
    )  # fmt: skip
    module = SimpleNamespace(flops=lambda *_: 0, log_dict=lambda *_, **__: None)
    watch = Throughput(every=1)
    watch.bar.start(trainer)
    watch.on_train_batch_end(trainer, module, {"loss": torch.ones(())}, {}, 0)
    watch.on_train_end(trainer, module)
    said = capsys.readouterr()
    assert "4/9 steps loss 1.000" in said.out
    assert "step 4/9" not in said.err


def test_without_a_terminal_the_first_and_the_last_numbers_are_lines(
    arguments, monkeypatch, capsys
):
    monkeypatch.setattr(callbacks, "_QUIET", 1e9)  # however slow the machine
    start(arguments, monkeypatch, "--trainer.max_steps", "7")
    plan, *lines = capsys.readouterr().err.splitlines()
    assert plan.startswith("training 0.0 M parameters in float32 on cpu, steps 0 to 7, with the")
    assert [line.split("  loss ")[0] for line in lines] == ["step 2/7", "step 7/7"]
    assert lines[-1].endswith("0 s left")
    start(arguments, monkeypatch, "--trainer.max_steps", "9", "--ckpt_path", "last")
    plan, *lines = capsys.readouterr().err.splitlines()
    assert "steps 7 to 9" in plan
    assert [line.split("  loss ")[0] for line in lines] == ["step 8/9", "step 9/9"]
