"""How many steps of training fit into minutes: planned from one measured pass, then from steps."""

import math
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, Trainer

_OVERHEAD = 1.45  # time of a training step / of its forward and backward: optimizer, data, checks
_AFTERWARDS = 250  # exporting, evaluating and drawing take about as long as this many passes
_MEASURED = (8, 40)  # steps between which a run measures itself: the first ones are slower
_CHECKS = 1.03  # time of all steps / of those without validation and sample sheets
_FEWEST, _MOST = 20, 20_000


class Budget:
    """The seconds until everything must be done, and what it holds.

    Args:
        minutes: for everything.
        start: `time.monotonic()` when it began; now, if left out.
    """

    def __init__(self, minutes: float, start: float | None = None) -> None:
        self.start = time.monotonic() if start is None else start
        self.end = self.start + 60 * minutes

    def steps(self, seconds: float) -> int:
        """Training steps that leave time for the rest, to the nearest ten.

        Args:
            seconds: of the forward and backward passes of one step.
        """
        left = self.end - time.monotonic() - _AFTERWARDS * seconds
        return _tens(left / max(seconds * _OVERHEAD, 1e-6), _FEWEST)

    def minutes_for(self, steps: int, seconds: float) -> int:
        """Budget that so many training steps would need.

        Args:
            steps: how many.
            seconds: of the forward and backward passes of one.
        """
        spent = time.monotonic() - self.start
        return math.ceil((spent + (steps * _OVERHEAD + _AFTERWARDS) * seconds) / 60)


class PlanAgain(Callback):
    """Plans the length of a run once more when it has measured its own steps.

    One pass says little of a step: with the optimizer, the data and the checks it took 1.2 times
    as long on one processor and 1.5 times on another. Rates and shares depend on the progress of a
    run, which moves a little; the warm-up is over by then.

    Args:
        budget: that everything must fit into.
        seconds: of forward and backward of one step, by which the time of the rest is told.
        change: sets the steps of the run.
    """

    def __init__(self, budget: Budget, seconds: float, change: Callable[[int], None]) -> None:
        self.budget, self.seconds, self.change = budget, seconds, change
        self._since = math.nan

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        first, last = _MEASURED
        if trainer.global_step == first:
            self._since = time.monotonic()
        if trainer.global_step != last or math.isnan(self._since) or trainer.max_steps <= last:
            return
        now = time.monotonic()
        each = _CHECKS * (now - self._since) / (last - first)
        left = self.budget.end - now - _AFTERWARDS * self.seconds
        self.change(_tens(last + left / each, last + 10))


def _tens(steps: float, fewest: int) -> int:
    return int(min(_MOST, max(fewest, round(steps / 10) * 10)))
