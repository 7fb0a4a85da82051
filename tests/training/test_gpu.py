"""What only a GPU can show; every test skips itself without one."""

import pytest
import torch
from lightning.pytorch import Callback
from test_run import QUIET, InterruptAt, start, weights

from tgp_multimodal.training.run import RunCLI

pytestmark = [
    QUIET,
    pytest.mark.filterwarnings(
        "ignore:Synchronization debug mode:UserWarning",
        "ignore:.*torch.jit.script_method.*:DeprecationWarning",  # torch 2.11 compiles through it
        # torch 2.11 looks at .grad of everything that it compiles
        "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",
    ),
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
GPU = ("--trainer.accelerator", "gpu", "--trainer.devices", "1")


class ForbidWaiting(Callback):
    """Makes it an error that the program waits for the device, but in steps that are logged."""

    def __init__(self):
        self.steps = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.global_step + 1) % trainer.log_every_n_steps:
            torch.cuda.set_sync_debug_mode("error")
            self.steps += 1

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        torch.cuda.set_sync_debug_mode("default")


def test_no_step_between_two_lines_of_the_log_waits_for_the_device(arguments, monkeypatch):
    watch = ForbidWaiting()
    monkeypatch.setattr(RunCLI, "extra", lambda self: [watch])
    try:
        start(arguments, monkeypatch, *GPU, "--trainer.log_every_n_steps", "4")
    finally:  # a failure must not make those of other tests
        torch.cuda.set_sync_debug_mode("default")
    assert watch.steps == 6


@pytest.mark.parametrize("more", [(), ("--model.compile", "true", "--data.text.length", "256")])
def test_a_run_that_went_on_ends_where_the_one_does_that_did_not_stop(
    arguments, tmp_path, monkeypatch, more
):
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    start(arguments, monkeypatch, *GPU, *more)
    whole = weights(last)
    last.unlink()
    monkeypatch.setattr(RunCLI, "extra", lambda self: [InterruptAt(3)], raising=False)
    start(arguments, monkeypatch, *GPU, *more)
    assert weights(last)[2] == 4
    monkeypatch.setattr(RunCLI, "extra", lambda self: [])
    start(arguments, monkeypatch, *GPU, *more, "--ckpt_path", "last")
    resumed = weights(last)
    assert resumed[2] == whole[2] == 8
    differences = [float((resumed[0][k] - v).abs().max()) for k, v in whole[0].items()]
    assert max(differences) < 1e-3, differences  # sums on a GPU come in any order
