"""`metrics.csv`: one file for the whole of a run, however often it was stopped."""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

_NAME = "metrics.csv"


class LogWhenDue:
    """Logs training values only at the steps that are due, and never Lightning's `epoch`.

    Where a callback ends a run, Lightning writes one more line, with the values of an earlier step.

    Attributes:
        every: steps between two lines.
    """

    every: int

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        told = {name: value for name, value in metrics.items() if name != "epoch"}
        is_due = step is None or (step + 1) % self.every == 0
        if told and (is_due or not any(name.startswith("train/") for name in told)):
            super().log_metrics(told, step)  # type: ignore[misc]


class Board(LogWhenDue, TensorBoardLogger):
    """TensorBoard's events of a run.

    Args:
        folder: the run's folder.
        every: steps between two lines.
    """

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__(folder, name="", version="")
        self.every = every


class MetricsFile(LogWhenDue, CSVLogger):
    """Lightning's logger, which deletes the file at every start, made to keep it.

    Args:
        folder: the run's folder.
        every: steps between two lines.
    """

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__(folder, name="", version="")
        self.path, self.every = Path(folder) / _NAME, every

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


class TruncateMetrics(Callback):
    """Removes rows from the resumed checkpoint's step on, since those steps will run again.

    Also removes a truncated last row, as a full disk or a power cut leaves one.

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


def was_validated(folder: Path, step: int) -> bool:
    """Whether `metrics.csv` has a line of the validation behind a step."""
    path = Path(folder) / _NAME
    if not path.is_file():
        return False
    with path.open(newline="", encoding="utf-8") as file:
        return any(
            int(row["step"]) == step - 1
            and any(value for key, value in row.items() if key.startswith("validation/"))
            for row in csv.DictReader(file)
        )


def _is_before(row: dict[str, str], steps: int) -> bool:
    """Whether a row belongs to the first `steps` steps; training rows count steps from 0."""
    step = int(row["step"])
    learns = any(value for key, value in row.items() if key.startswith("train/"))
    return step < steps or (step == steps and not learns)
