"""Signals that reach one process of several, while the others wait for it or stop already."""

import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tgp_multimodal.training.callbacks import CleanStop


@pytest.fixture
def stop() -> Any:
    callback = CleanStop()
    callback.on_train_start(None, None)  # type: ignore[arg-type]
    yield callback
    callback.on_train_end(trainer_of(lambda asked: asked), None)  # type: ignore[arg-type]


def trainer_of(reduced: Any) -> Any:
    """A trainer of two processes, whose decisions are what `reduced` makes of this one's."""
    strategy = SimpleNamespace(
        reduce_boolean_decision=lambda asked, all: reduced(asked),
        reduce=lambda told, reduce_op: told,
        root_device="cpu",
    )
    numbers = {"world_size": 2, "global_step": 3, "max_steps": 9, "should_stop": False}
    return SimpleNamespace(strategy=strategy, limit_val_batches=1.0, **numbers)


def test_a_signal_during_the_decision_counts_in_the_next_step(stop: CleanStop) -> None:
    def interrupted(asked: bool) -> bool:
        signal.raise_signal(signal.SIGTERM)
        return asked

    trainer = trainer_of(interrupted)
    stop.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
    assert not trainer.should_stop
    trainer.strategy.reduce_boolean_decision = lambda asked, all: asked
    stop.on_train_batch_end(trainer, None, None, None, 1)  # type: ignore[arg-type]
    assert trainer.should_stop
    assert stop.exit_status == 128 + signal.SIGTERM


def test_a_run_beside_the_main_thread_leaves_signals_alone() -> None:
    before, errors = signal.getsignal(signal.SIGTERM), []

    def start() -> None:
        try:
            CleanStop().on_train_start(None, None)  # type: ignore[arg-type]
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert not errors
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_first_signal_of_a_process_that_stops_already_lets_it_save(stop: CleanStop) -> None:
    trainer = trainer_of(lambda asked: True)  # the other one was told to
    stop.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
    assert trainer.should_stop
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
