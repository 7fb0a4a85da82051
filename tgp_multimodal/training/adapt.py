"""Adapting: an exported model learns a task from labelled items, by one of three ways.

"head" fits a linear map on frozen features. "lora" and "full" start from that map and train on:
small matrices beside the projections, or every weight that the items pass.
"""

import copy
import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer

from tgp_multimodal.data.labelled import Item, Splits, check_seen, label_names
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.evaluation.results import replace
from tgp_multimodal.evaluation.task_scores import USUAL
from tgp_multimodal.export import Loaded
from tgp_multimodal.inference.task_network import Pairs, Task, TaskNetwork
from tgp_multimodal.training import adapt_lora
from tgp_multimodal.training.adapt_module import AdaptModule, balanced
from tgp_multimodal.training.adapt_start import (
    Data,
    best_reading,
    encoded,
    features,
    fitted,
    set_head,
    task_of,
)
from tgp_multimodal.training.adapt_watch import Bar, Judge, learned, put_back
from tgp_multimodal.training.allocator import keep_freed_memory
from tgp_multimodal.training.callbacks import CleanStop
from tgp_multimodal.training.checkpoints import Checkpoint, newest

# Lightning greets every run with the devices and a product of its makers.
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.WARNING)

Method = Literal["full", "lora", "head"]
Say = Callable[[str], None]

# Peak rates that are tried at a width of 256; AdamW's go down as a network gets wider.
RATES = {"full": (1e-4, 3e-4, 1e-3, 3e-3), "lora": (3e-4, 1e-3, 3e-3, 1e-2)}
_ANCHOR = 256
_LOOKS = 12  # at validation, if nothing ends the training early
_PASSES = 4  # over the training items
_LEAST_STEPS = 100
_TRIAL_SHARE, _TRIAL_STEPS = 1 / 6, (20, 150)
_START_ITEMS = 4000  # that the map is fitted on where it is only a start
PLAN = "plan.json"
# What of the diffusion head the null prompt passes, and what stands behind the features.
_FROZEN = ("txt_in", "txt_kv_proj", "norm_added_k", "final_layer")


@dataclass(frozen=True)
class Settings:
    """How to adapt.

    Attributes:
        method: "head", "lora" or "full".
        rate: peak learning rate; None tries some.
        steps: left out: four passes over the training items, but at least 100 steps.
        batch: items of a step.
        length: most tokens of a text.
        pairs: how two texts are read, see `Task`.
        class_weights: whether every class has the same say, however rare.
        patience: looks at validation, of twelve, that may be no better than the best before.
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


class Learned(NamedTuple):
    """What came of it.

    Attributes:
        network: with the best weights; LoRA's matrices still beside the projections.
        history: looks at validation; the first is the start.
        best: place of the best of them.
        facts: what was chosen on the way, plain data.
        is_stopped: whether somebody asked to stop before the end.
    """

    network: TaskNetwork
    history: list[dict[str, float]]
    best: int
    facts: dict[str, Any]
    is_stopped: bool


def learn(
    loaded: Loaded,
    splits: Splits,
    settings: Settings,
    folder: Path | None = None,
    say: Say = lambda line: None,
) -> Learned:
    """Adapts a copy of a model to the training items of a task, judged by its validation items.

    Args:
        loaded: the model.
        splits: the task.
        settings: how.
        folder: keeps what is needed to go on after a kill, and goes on from what is there; None
            keeps nothing.
        say: told what happens.

    Raises:
        ValueError: a setting is out of range, the model cannot read the items, a label of
            validation does not occur in training, or memory is short.
    """
    _check(settings, splits)
    try:
        return _learn(loaded, splits, settings, folder, say)
    except torch.OutOfMemoryError as error:
        lower = "--length or take --method lora" if settings.batch == 1 else "--batch or --length"
        raise ValueError(
            f"the model and a batch of {settings.batch} must fit in the memory of the device."
            f" Got none left instead; lower {lower}."
        ) from error


def _learn(
    loaded: Loaded, splits: Splits, settings: Settings, folder: Path | None, say: Say
) -> Learned:
    keep_freed_memory()
    metric = splits.metric or USUAL[splits.kind]
    of = {"weights": loaded.digest, "items": _digest(splits), "settings": asdict(settings)}
    plan = _read_plan(folder, json.loads(json.dumps(of)))
    network = copy.deepcopy(loaded.network).to(_device())
    if plan is None:
        task = task_of(network, splits, settings.length, settings.pairs)
        task = best_reading(network, loaded.tokenizer, task, splits, metric)
    else:
        task = _task(plan["task"])
    adapted, tokenizer = TaskNetwork(network, task).train(), loaded.tokenizer
    data = encoded(splits, task, tokenizer)
    start = 0.0
    if folder is None or newest(folder) is None:  # else it is in the checkpoint
        start = _start(adapted, tokenizer, data, splits, settings, metric)
        say(f"{metric} on validation with the frozen network: {start:.4f}")
    facts: dict[str, Any] = {"metric": metric, "task": asdict(task), **_sizes(adapted)}
    if settings.method == "head":
        row = {"step": 0.0, "seconds": 0.0, "metric": start}
        return Learned(adapted, [row], 0, facts | {"trained_parameters": _head(adapted)}, False)
    free(adapted, settings)
    facts["trained_parameters"] = sum(w.numel() for w in learned(adapted).values())
    make = _Maker(adapted, tokenizer, data, settings, metric, splits.positive)
    if plan is None:
        rate, tried = _rate(make, settings, say)
        plan = {**of, "task": asdict(task), "rate": rate, "tried": tried}
        _write_plan(folder, plan)
    facts |= {"rate": plan["rate"], "rates_tried": plan["tried"], "steps": make.steps}
    judge, is_stopped = _train(make, plan["rate"], folder, say)
    put_back(adapted, judge.weights)
    return Learned(adapted, judge.history, judge.best, facts, is_stopped)


def _check(settings: Settings, splits: Splits) -> None:
    for name in ("batch", "patience"):
        if (value := getattr(settings, name)) < 1:
            raise ValueError(f"{name} must be at least 1. Got {value} instead.")
    if settings.steps is not None and settings.steps < 1:
        raise ValueError(f"steps must be at least 1. Got {settings.steps} instead.")
    if settings.rate is not None and settings.rate <= 0:
        raise ValueError(f"learning_rate must be auto or above 0. Got {settings.rate} instead.")
    if settings.method == "lora" and splits.reads == "picture":
        raise ValueError("method must be full or head for pictures. Got lora instead.")
    if settings.class_weights and splits.kind == "regression":
        raise ValueError("class_weights must be left out of a regression. Got them instead.")
    names = label_names(splits.train, splits.kind)
    if splits.kind in ("classification", "tagging") and len(names) < 2:
        raise ValueError(f"label must have at least 2 classes. Got {', '.join(names)} instead.")
    if splits.kind != "tagging":  # a tag is one of many in its sentence; a missed one is a miss
        check_seen("validation", splits.validation, splits.kind, names)


def _start(
    network: TaskNetwork,
    tokenizer: Tokenizer,
    data: Data,
    splits: Splits,
    settings: Settings,
    metric: str,
) -> float:
    """Fits the map on frozen features, puts it in, and returns its score on validation."""
    if settings.method != "head" and len(data.train.items) > _START_ITEMS:
        few: Sequence[Item] = splits.train[:: -(-len(splits.train) // _START_ITEMS)]
        data = encoded(splits._replace(train=list(few)), network.task, tokenizer)
    found = features(network, tokenizer, data)
    is_last = settings.method == "head"
    plane = fitted(found, data, network.task, metric, splits.positive, is_last)
    set_head(network, plane)
    return plane.score


def free(network: TaskNetwork, settings: Settings) -> None:
    """Says which weights are trained, and puts LoRA's matrices in where that is the way."""
    network.network.requires_grad_(False)
    if settings.method == "lora":
        adapt_lora.add(network.network.text, settings.rank, settings.seed)
        network.to(network.device)
    elif network.task.reads == "picture":
        head = network.network.get_submodule("head")
        for name, weight in head.named_parameters():
            parts = name.split(".")
            is_behind = parts[0] == "blocks" and int(parts[1]) >= network.task.block
            weight.requires_grad_(not is_behind and not set(parts) & set(_FROZEN))
    else:
        network.network.text.requires_grad_(True)
    network.head.requires_grad_(True)


class _Maker(NamedTuple):
    """Makes modules that train one network."""

    network: TaskNetwork
    tokenizer: Tokenizer
    data: Data
    settings: Settings
    metric: str
    positive: str

    @property
    def steps(self) -> int:
        passes = -(-len(self.data.train.items) // self.settings.batch) * _PASSES
        return self.settings.steps or max(_LEAST_STEPS, passes)

    def module(self, rate: float) -> AdaptModule:
        s, train = self.settings, self.data.train
        weight_K = balanced(train, self.network.task) if s.class_weights else None
        return AdaptModule(
            self.network, self.tokenizer, train, self.data.validation, rate, s.batch, s.seed,
            self.metric, self.positive, weight_K,
        )  # fmt: skip


def _rate(make: _Maker, settings: Settings, say: Say) -> tuple[float, dict[str, list[float]]]:
    """The given rate, or that with the least validation loss of some short runs."""
    if settings.rate is not None:
        return settings.rate, {}
    least, most = _TRIAL_STEPS
    steps = min(make.steps, max(least, min(most, round(make.steps * _TRIAL_SHARE))))
    start = learned(make.network)
    tried: dict[float, list[float]] = {}
    width = make.network.network.text.width
    for rate in (float(f"{r * _ANCHOR / width:.2g}") for r in RATES[settings.method]):
        judge, began = Judge(steps, 1), time.monotonic()
        _trainer(steps, [judge]).fit(make.module(rate))
        row, seconds = judge.history[-1], time.monotonic() - began
        if not tried:
            ahead = seconds * (len(RATES[settings.method]) - 1 + make.steps / steps)
            say(f"at most about {ahead / 60:.1f} minutes from here")
        tried[rate] = [row["metric"], row["validation_loss"]]
        say(f"learning rate {rate:g}: {make.metric} {row['metric']:.4f} after {steps} steps")
        put_back(make.network, start)
    # By the loss: the metric of a few validation items is too coarse to tell rates apart.
    best = min(tried, key=lambda r: tried[r][1])
    return best, {f"{rate:g}": row for rate, row in tried.items()}


def _train(make: _Maker, rate: float, folder: Path | None, say: Say) -> tuple[Judge, bool]:
    judge, stop = Judge(max(5, make.steps // _LOOKS), make.settings.patience), CleanStop()
    callbacks: list[Callback] = [stop, judge]
    last = None
    if folder is not None:
        callbacks += [Bar(judge, make.metric), Checkpoint(folder, judge.every)]
        last = newest(folder)
        if last is not None:
            say(f"going on from {last}")
    _trainer(make.steps, callbacks).fit(make.module(rate), ckpt_path=last, weights_only=True)
    return judge, stop.stopped


def _trainer(steps: int, callbacks: list[Callback]) -> Trainer:
    return Trainer(
        accelerator="auto", devices=1, max_steps=steps, callbacks=callbacks, logger=False,
        gradient_clip_val=1.0, precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _head(network: TaskNetwork) -> int:
    return sum(w.numel() for w in network.head.parameters())


def _sizes(network: TaskNetwork) -> dict[str, int]:
    part = network.network.get_submodule("head" if network.task.reads == "picture" else "text")
    return {"parameters": sum(w.numel() for w in part.parameters()) + _head(network)}


def _task(content: dict[str, Any]) -> Task:
    return Task(**content | {"labels": tuple(content["labels"])})


def _digest(splits: Splits) -> str:
    """SHA-256 of the items that are learned from and chosen by, with their labels."""
    digest = hashlib.sha256()
    for item in (*splits.train, None, *splits.validation):
        if item is not None and isinstance(item.item, np.ndarray):
            digest.update(item.item.tobytes())
            item = item._replace(item=item.item.shape)
        digest.update(repr(item).encode())
    return digest.hexdigest()


def _read_plan(folder: Path | None, of: dict[str, Any]) -> dict[str, Any] | None:
    """What an unfinished run in the folder had chosen; None where there is none.

    Raises:
        ValueError: it has another model, other items or other settings.
    """
    path = folder / PLAN if folder else None
    if path is None or not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    wrong = [f"{k} {v}" for k, v in found["settings"].items() if of["settings"].get(k) != v]
    wrong += [
        f"{name} {found[name][:12]}" for name in ("weights", "items") if found[name] != of[name]
    ]
    if wrong:
        raise ValueError(
            f"settings, model and items must be those of the unfinished run in {folder}:"
            f" {', '.join(wrong)}. Got others instead; take another output to begin anew."
        )
    return found


def _write_plan(folder: Path | None, plan: dict[str, Any]) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / PLAN, json.dumps(plan, indent=2) + "\n")
