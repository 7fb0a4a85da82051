"""`metrics.csv`: one file for the whole of a run, however often it was stopped."""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

_NAME = "metrics.csv"


class _Once:
    """Leaves out a line that says what the last one said.

    When a callback ends a run, Lightning writes a line behind that step, and where none was due it
    has the values of an earlier step.
    """

    _last: dict[str, Any] | None = None

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        learnt = {name: v for name, v in metrics.items() if name.startswith("train/")}
        if learnt and learnt == self._last:
            return
        self._last = learnt or self._last
        super().log_metrics(metrics, step)  # type: ignore[misc]


class Board(_Once, TensorBoardLogger):
    """TensorBoard's events of a run."""


class MetricsFile(_Once, CSVLogger):
    """Lightning's logger, which deletes the file at every start, made to keep it.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")
        self.path = Path(folder) / _NAME

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is not None:
            return self._experiment
        kept = self.path.read_bytes() if self.path.is_file() else b""
        writer = super().experiment
        if kept:
            self.path.write_bytes(kept)
            with self.path.open(newline="", encoding="utf-8") as file:
                writer.metrics_keys = list(next(csv.reader(file)))
        return writer


class GoesOn(Callback):
    """Drops the rows of steps that are done again, behind the checkpoint that a run goes on from.

    And a row that is cut, as a full disk or a power cut leaves the last one.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / _NAME

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if not self.path.is_file():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            text = file.read()
        if not text:
            return
        header, *rows = csv.reader(text.splitlines())
        is_cut = not text.endswith("\n")
        whole = [row for row in (rows[:-1] if is_cut else rows) if len(row) == len(header)]
        named = [dict(zip(header, row, strict=True)) for row in whole]
        left = [r for r, n in zip(whole, named, strict=True) if _is_before(n, trainer.global_step)]
        if len(left) < len(rows):
            with self.path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([header, *left])


def _is_before(row: dict[str, str], steps: int) -> bool:
    """Whether a row was logged within so many steps; a step's own row has its number from 0."""
    step = int(row["step"])
    learns = any(value for key, value in row.items() if key.startswith("train/"))
    return step < steps or (step == steps and not learns)
