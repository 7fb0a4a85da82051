"""The rates of a run of several processes are those of all of them together."""

from types import SimpleNamespace

import pytest
import torch

from tgp_multimodal.training import callbacks
from tgp_multimodal.training.callbacks import Throughput


@pytest.mark.parametrize("processes", [1, 4])
def test_rates_are_of_all_processes_and_the_share_is_of_one_device(processes, monkeypatch):
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: 2.0)  # two seconds after 0
    logged = {}
    module = SimpleNamespace(
        flops=lambda batch, step: 6 * 10**12,
        log_dict=lambda rates, batch_size: logged.update(rates),
    )
    trainer = SimpleNamespace(
        global_step=1, world_size=processes, is_global_zero=False,
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
