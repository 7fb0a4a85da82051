"""What watches over adapting: early stopping, which keeps the best weights, and progress."""

import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from tgp_multimodal.training.console import StepBar

HistoryRow = dict[str, Any]


class EarlyStopping(Callback):
    """Validates every few steps, keeps the best weights, and stops when they stop improving.

    Ties in the metric go to the lower loss. The start is a candidate too, so that the result is
    never worse than it; but it does not count for patience, since the first steps, which change the
    network under the fitted map, often lower the score.

    Args:
        every: steps between two validations.
        patience: this many validations in a row no better than the best of training end it.
        is_trial: whether only the result of the last step is wanted; the start is not validated.

    Attributes:
        history: one row per validation: step, seconds, training loss (None for the start),
            validation loss, metric.
        best: index of the best row in `history`.
        weights: the trained weights at that row.
        evaluation_seconds: seconds spent in validation.
    """

    def __init__(self, every: int, patience: int, is_trial: bool = False) -> None:
        self.every, self.patience, self.is_trial = every, patience, is_trial
        self.evaluation_seconds = 0.0
        self.history: list[HistoryRow] = []
        self.best = 0
        self.weights: dict[str, Tensor] = {}
        self._losses: list[Tensor] = []
        self._started_at = time.monotonic()

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        before = self.history[-1]["seconds"] if self.history else 0.0
        self._started_at = time.monotonic() - before
        if not self.history and not self.is_trial:
            self._evaluate(trainer, module)
        self._stop_in_time(trainer)  # it had ended before it was killed

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        self._losses.append(outputs["loss"].detach())
        step = trainer.global_step
        if step % self.every == 0 or step == trainer.max_steps:
            self._evaluate(trainer, module)
            self._stop_in_time(trainer)

    def _stop_in_time(self, trainer: Trainer) -> None:
        trained = [_rank(row) for row in self.history[1:]]
        if trained and len(trained) - 1 - trained.index(max(trained)) >= self.patience:
            trainer.should_stop = True

    def _evaluate(self, trainer: Trainer, module: Any) -> None:
        began = time.monotonic()
        value, loss = module.evaluate()
        self.evaluation_seconds += time.monotonic() - began
        mean = (
            float(torch.stack([loss.cpu() for loss in self._losses]).mean())
            if self._losses
            else None
        )
        self._losses = []
        row = {
            "step": trainer.global_step,
            "seconds": time.monotonic() - self._started_at,
            "train_loss": mean,
            "validation_loss": loss,
            "metric": value,
        }
        self.history.append(row)
        if len(self.history) == 1 or _rank(row) > _rank(self.history[self.best]):
            self.best = len(self.history) - 1
            self.weights = trainable_weights(module.network)

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "best": self.best,
            "weights": self.weights,
            "losses": [loss.cpu() for loss in self._losses],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self.best = list(state["history"]), state["best"]
        self.weights, self._losses = state["weights"], list(state["losses"])


def _rank(row: HistoryRow) -> tuple[float, float]:
    return row["metric"], -row["validation_loss"]


def trainable_weights(network: nn.Module) -> dict[str, Tensor]:
    """Copies of the weights that are trained, in CPU memory."""
    return {n: w.detach().cpu().clone() for n, w in network.named_parameters() if w.requires_grad}


@torch.no_grad()
def restore_weights(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copies weights that `trainable_weights` gave into the network."""
    parameters = dict(network.named_parameters())
    for name, weight in weights.items():
        parameters[name].copy_(weight)


class Bar(Callback):
    """Shows steps, the best so far and the time left; plain lines where there is no terminal.

    Args:
        stopping: which knows the best so far.
        metric: name of the metric.
    """

    def __init__(self, stopping: EarlyStopping, metric: str) -> None:
        self.stopping, self.metric = stopping, metric
        self.bar = StepBar("adapting")
        self._started_at, self._from, self._rows_printed = 0.0, 0, 0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._started_at, self._from = time.monotonic(), trainer.global_step
        self._rows_printed = len(self.stopping.history)
        self.bar.start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        history, step = self.stopping.history, trainer.global_step
        best = f"best {self.metric} {history[self.stopping.best]['metric']:.4f}" if history else ""
        self.bar.update(step, best)
        if not self.bar.is_shown and len(history) > self._rows_printed:
            each = (time.monotonic() - self._started_at) / max(1, step - self._from)
            left = (trainer.max_steps - step) * each
            now = f"{self.metric} {history[-1]['metric']:.4f}"
            print(
                f"step {step}/{trainer.max_steps}  {now}  {best}  at most {left:,.0f} s left",
                file=sys.stderr,
            )
        self._rows_printed = len(history)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.bar.stop()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self.on_train_end(trainer, module)
