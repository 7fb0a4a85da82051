"""Resuming from a checkpoint, so that all is computed and logged as without the interruption."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from tgp_multimodal.training.metrics_file import was_validated


class ResumeCounters(Callback):
    """Sets Lightning's counters to the step that a run resumes from, and validates if that is due.

    Lightning counts batches and logged lines separately from steps. After a checkpoint they may be
    one ahead, and the validation due at its step is skipped, since the checkpoint was written
    before. Here all follows from the step number, as the data, the schedule and the noise do.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        if step == 0:
            return
        loop: Any = trainer.fit_loop.epoch_loop
        loop.restarting = False
        loop._batches_that_stepped = step
        every = trainer.val_check_batch
        is_due = trainer.check_val_every_n_epoch is None and every and step % every == 0
        if is_due and not trainer.strategy.broadcast(was_validated(self.folder, step)):
            _validate(trainer, loop)


def _validate(trainer: Trainer, loop: Any) -> None:
    """What Lightning does behind a step, whose line has the number from 0."""
    loop._batches_that_stepped -= 1
    trainer.validating = True
    loop.val_loop.run()
    trainer.training = True
    loop._batches_that_stepped += 1
