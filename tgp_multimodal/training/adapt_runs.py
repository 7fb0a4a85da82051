"""Runs of adapting: the short ones that choose a learning rate, and the long one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Literal, NamedTuple

from lightning.pytorch import Callback, Trainer

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.devices import default_device
from tgp_multimodal.inference.task_network import Pairs, TaskNetwork
from tgp_multimodal.models.networks import Multimodal
from tgp_multimodal.training.adapt_module import AdaptModule, balanced
from tgp_multimodal.training.adapt_start import Data
from tgp_multimodal.training.adapt_watch import (
    Bar,
    EarlyStopping,
    restore_weights,
    trainable_weights,
)
from tgp_multimodal.training.callbacks import CleanStop
from tgp_multimodal.training.checkpoints import Checkpoint, newest
from tgp_multimodal.training.console import quiet_lightning

quiet_lightning()

Method = Literal["full", "lora", "head"]
Say = Callable[[str], None]

Tried = dict[str, list[float]]  # rate -> metric and loss on validation

# Peak rates that are tried at a width of 256; AdamW's go down as a network gets wider.
RATES = {"full": (1e-4, 3e-4, 1e-3, 3e-3), "lora": (3e-4, 1e-3, 3e-3, 1e-2)}
_ANCHOR = 256
_LOOKS = 12  # at validation, if nothing ends the training early
_PASSES = 4  # over the training items
_LEAST_STEPS = 100
_TRIAL_SHARE, _TRIAL_STEPS = 1 / 6, (20, 150)
_NEAR = 1.01  # losses so close say nothing about which rate is better


@dataclass(frozen=True)
class Settings:
    """How to adapt.

    Attributes:
        method: "head", "lora" or "full".
        rate: peak learning rate; None tries several and picks one.
        steps: left out: four epochs over the training items, but at least 100 steps.
        batch: items per step.
        length: most tokens of a text.
        pairs: how two texts are read, see `Task`.
        class_weights: whether every class weighs the same in the loss, however rare.
        patience: validations in a row without improvement, of about twelve, that end training.
        rank: of LoRA's matrices.
        seed: of the order of items, and of LoRA's matrices.
    """

    method: Method = "full"
    rate: float | None = None
    steps: int | None = None
    batch: int = 16
    length: int = 256
    pairs: Pairs = "apart"
    class_weights: bool = False
    patience: int = 5
    rank: int = 8
    seed: int = 0


class ModuleFactory(NamedTuple):
    """Makes modules that train one network."""

    network: TaskNetwork
    tokenizer: Tokenizer
    data: Data
    settings: Settings
    metric: str
    positive: str

    @property
    def width(self) -> int:
        """Width of the trained part."""
        network = self.network.network
        if self.network.task.reads == "picture":
            assert isinstance(network, Multimodal)
            return network.head.width
        return network.text.width

    @property
    def steps(self) -> int:
        """Steps of the long run."""
        passes = -(-len(self.data.train.items) // self.settings.batch) * _PASSES
        return self.settings.steps or max(_LEAST_STEPS, passes)

    @property
    def every(self) -> int:
        """Steps between two validations of the long run."""
        return max(5, self.steps // _LOOKS)

    def module(self, rate: float) -> AdaptModule:
        """A fresh one, of the peak rate."""
        s, train = self.settings, self.data.train
        weight_K = balanced(train, self.network.task) if s.class_weights else None
        return AdaptModule(
            self.network, self.tokenizer, train, self.data.validation, rate, s.batch, s.seed,
            self.metric, self.positive, weight_K,
        )  # fmt: skip


def try_rates(factory: ModuleFactory, tried: Tried, say: Say, keep: Callable[[], None]) -> bool:
    """Trains briefly at each untried rate from the same start; returns whether it was stopped.

    Args:
        factory: makes the modules.
        tried: filled with the result of each rate.
        say: called with each progress message.
        keep: called after each rate, to save `tried`.
    """
    least, most = _TRIAL_STEPS
    steps = min(factory.steps, max(least, min(most, round(factory.steps * _TRIAL_SHARE))))
    start = trainable_weights(factory.network)
    rates = [f"{r * _ANCHOR / factory.width:.2g}" for r in RATES[factory.settings.method]]
    missing = [rate for rate in rates if rate not in tried]
    for rate in missing:
        stopping, stop, began = EarlyStopping(steps, 1, is_trial=True), CleanStop(), monotonic()
        _trainer(steps, [stop, stopping]).fit(factory.module(float(rate)))
        if stop.stopped:
            return True
        if rate == missing[0]:
            more = len(missing) - 1
            learning = monotonic() - began - stopping.evaluation_seconds
            validations = 2 + factory.steps // factory.every  # at the start and end, too
            ahead = learning * (more + factory.steps / steps)
            ahead += stopping.evaluation_seconds * (more + validations)
            say(f"at most about {ahead / 60:.1f} minutes from here")
        row = stopping.history[-1]
        tried[rate] = [row["metric"], row["validation_loss"]]
        say(f"learning rate {rate}: {factory.metric} {row['metric']:.4f} after {steps} steps")
        restore_weights(factory.network, start)
        keep()
        if stop.asked:  # in its last step: what came of it is kept
            return True
    return False


def best_rate(tried: Tried) -> float:
    """The rate with the least loss, or a higher one that is within a hundredth of it.

    By the loss: the metric of a few validation items is too coarse to tell rates apart. A higher
    one: short runs favour lower rates than long ones want (Wu et al. 2018, arXiv:1803.02021).

    Raises:
        ValueError: no rate gave a loss that is a number.
    """
    losses = [loss for _, loss in tried.values() if math.isfinite(loss)]
    if not losses:
        raise ValueError(
            "validation loss must be a number with some learning rate (are there labels in "
            f"validation that training shows?). Got none of {', '.join(tried)} instead."
        )
    least = min(losses)
    return max(float(rate) for rate, (_, loss) in tried.items() if loss <= _NEAR * least)


def train(
    factory: ModuleFactory, rate: float, folder: Path | None, say: Say
) -> tuple[EarlyStopping, bool]:
    """Trains, resuming from the folder if it can; its early stopping and whether it was stopped."""
    stopping, stop = EarlyStopping(factory.every, factory.settings.patience), CleanStop()
    callbacks: list[Callback] = [stop, stopping]
    last = None
    if folder is not None:
        callbacks += [Bar(stopping, factory.metric), Checkpoint(folder, stopping.every)]
        last = newest(folder)
        if last is not None:
            say(f"going on from {last}")
    _trainer(factory.steps, callbacks).fit(factory.module(rate), ckpt_path=last, weights_only=True)
    return stopping, stop.stopped or stop.asked


def _trainer(steps: int, callbacks: list[Callback]) -> Trainer:
    device = default_device()
    is_cuda = device.type == "cuda"
    return Trainer(
        accelerator=device.type, devices=[device.index or 0] if is_cuda else 1,
        max_steps=steps, callbacks=callbacks, logger=False,
        gradient_clip_val=1.0, precision="bf16-mixed" if is_cuda else "32-true",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
