"""What a fit shows: a bar of its steps, and nothing of what Lightning says on its own."""

import logging
import sys

from lightning.pytorch import Trainer
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def quiet_lightning() -> None:
    """Silences Lightning's greeting: the seed, the devices and a product of its makers."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


class StepBar:
    """A bar of a fit's steps, on a terminal alone.

    Args:
        label: what stands in front of it.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._bar: Progress | None = None
        self._trainer: Trainer | None = None

    @property
    def is_shown(self) -> bool:
        """Whether there is a bar; where there is none, plain lines are wanted."""
        return self._bar is not None

    def start(self, trainer: Trainer) -> None:
        """Shows the bar if errors are printed to a terminal."""
        if not sys.stderr.isatty():
            return
        columns = (
            TextColumn(self.label), BarColumn(), TextColumn("{task.completed}/{task.total} steps"),
            TextColumn("{task.description}"), TimeElapsedColumn(), TextColumn("elapsed,"),
            TimeRemainingColumn(), TextColumn("left"),
        )  # fmt: skip
        self._bar, self._trainer = Progress(*columns), trainer
        self._bar.add_task("", total=trainer.max_steps, completed=trainer.global_step)
        self._bar.start()

    def update(self, step: int, text: str | None = None) -> None:
        """Moves the bar, if it is shown.

        Args:
            step: steps that are done.
            text: what stands behind them; None leaves it as it is.
        """
        if self._bar is not None and self._trainer is not None:
            steps = self._trainer.max_steps  # which may change on the way
            self._bar.update(self._bar.task_ids[0], completed=step, description=text, total=steps)

    def stop(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
