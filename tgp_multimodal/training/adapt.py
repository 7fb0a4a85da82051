"""Adapting: fine-tunes an exported model on a task with labelled items, in one of three ways.

"head" fits a linear map on frozen features. "lora" and "full" start from that map and keep
training: low-rank matrices beside the projections, or every weight that the items pass through.
"""

import copy
import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tgp_multimodal.data.json_files import read_object
from tgp_multimodal.data.labelled import Splits, check_seen, label_names
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.evaluation.results import replace
from tgp_multimodal.evaluation.task_scores import default_metric
from tgp_multimodal.export import Loaded
from tgp_multimodal.inference.devices import default_device
from tgp_multimodal.inference.task_network import Task, TaskNetwork
from tgp_multimodal.training import adapt_lora
from tgp_multimodal.training.adapt_runs import (
    ModuleFactory,
    Say,
    Settings,
    best_rate,
    train,
    try_rates,
)
from tgp_multimodal.training.adapt_start import (
    Data,
    at_most,
    best_reading,
    encoded,
    features,
    fitted,
    set_head,
    task_of,
)
from tgp_multimodal.training.adapt_watch import HistoryRow, restore_weights, trainable_weights
from tgp_multimodal.training.allocator import keep_freed_memory
from tgp_multimodal.training.checkpoints import newest

PLAN = "plan.json"
_START_ITEMS = 4000  # that the map is fitted on where it is only a start
# Parts of the diffusion head that read the null prompt, and the layer after the features.
_FROZEN = ("txt_in", "txt_kv_proj", "norm_added_k", "final_layer")


class AdaptResult(NamedTuple):
    """The outcome of adapting.

    Attributes:
        network: with the best weights; LoRA's matrices are not merged yet.
        history: one row per validation; the first is from before training.
        best: index of the best row.
        facts: what was chosen on the way, plain data.
        is_stopped: whether the user stopped it before the end.
    """

    network: TaskNetwork
    history: list[HistoryRow]
    best: int
    facts: dict[str, Any]
    is_stopped: bool


def learn(
    loaded: Loaded,
    splits: Splits,
    settings: Settings,
    folder: Path | None = None,
    say: Say = lambda line: None,
) -> AdaptResult:
    """Adapts a copy of a model to the training items of a task, judged by its validation items.

    Args:
        loaded: the model.
        splits: the task.
        settings: how.
        folder: stores what is needed to resume after a kill, and is resumed from; None stores
            nothing.
        say: called with each progress message.

    Raises:
        ValueError: a setting is out of range, the model cannot read the items, a label of
            validation does not occur in training, or memory is short.
    """
    _check(settings, splits)
    try:
        return _learn(loaded, splits, settings, folder, say)
    except torch.OutOfMemoryError as error:
        if folder is not None and newest(folder) is None:
            (folder / PLAN).unlink(missing_ok=True)  # it holds the batch that did not fit
        lower = "--length or take --method lora" if settings.batch == 1 else "--batch or --length"
        raise ValueError(
            f"the model and a batch of {settings.batch} must fit in the memory of the device."
            f" Got none left instead; lower {lower}."
        ) from error


def _learn(
    loaded: Loaded, splits: Splits, settings: Settings, folder: Path | None, say: Say
) -> AdaptResult:
    keep_freed_memory()
    metric = splits.metric or default_metric(splits.kind, label_names(splits.train, splits.kind))
    identity = {"weights": loaded.digest, "items": _digest(splits), "settings": asdict(settings)}
    plan = _read_plan(folder, json.loads(json.dumps(identity)))
    network = copy.deepcopy(loaded.network).to(default_device())
    if plan is None:
        task = task_of(network, splits, settings.length, settings.pairs)
        is_frozen = settings.method == "head"
        task = best_reading(network, loaded.tokenizer, task, splits, metric, is_frozen)
        plan = {**identity, "task": asdict(task), "rate": settings.rate, "tried": {}}
        _write_plan(folder, plan)
    task = Task.from_content(plan["task"])
    adapted, tokenizer = TaskNetwork(network, task).train(), loaded.tokenizer
    data = encoded(splits, task, tokenizer)
    start = 0.0
    if folder is None or newest(folder) is None:  # else it is in the checkpoint
        start = _fit_head(adapted, tokenizer, data, splits, settings, metric)
        say(f"{metric} on validation with the frozen network: {start:.4f}")
    facts: dict[str, Any] = {"metric": metric, "task": asdict(task), **_sizes(adapted)}
    first: list[HistoryRow] = [{"step": 0.0, "seconds": 0.0, "metric": start}]
    if settings.method == "head":
        facts["trained_parameters"] = _head_size(adapted)
        return AdaptResult(adapted, first, 0, facts, False)
    set_trainable(adapted, settings)
    facts["trained_parameters"] = sum(w.numel() for w in trainable_weights(adapted).values())
    factory = ModuleFactory(adapted, tokenizer, data, settings, metric, splits.positive)
    if plan["rate"] is None:
        if try_rates(factory, plan["tried"], say, lambda: _write_plan(folder, plan)):
            return AdaptResult(adapted, first, 0, facts, True)
        plan["rate"] = best_rate(plan["tried"])
        _write_plan(folder, plan)
    facts |= {"rate": plan["rate"], "rates_tried": plan["tried"], "steps": factory.steps}
    stopping, is_stopped = train(factory, plan["rate"], folder, say)
    restore_weights(adapted, stopping.weights)
    return AdaptResult(adapted, stopping.history, stopping.best, facts, is_stopped)


def _check(settings: Settings, splits: Splits) -> None:
    for name in ("batch", "patience", "rank"):
        if (value := getattr(settings, name)) < 1:
            raise ValueError(f"{name} must be at least 1. Got {value} instead.")
    if settings.steps is not None and settings.steps < 1:
        raise ValueError(f"steps must be at least 1. Got {settings.steps} instead.")
    if settings.rate is not None and not 0 < settings.rate < math.inf:
        raise ValueError(f"learning_rate must be auto or above 0. Got {settings.rate} instead.")
    if not 0 <= settings.seed < 2**32:
        raise ValueError(f"seed must be from 0 to {2**32 - 1}. Got {settings.seed} instead.")
    if settings.method == "lora" and splits.reads == "picture":
        raise ValueError("method must be full or head for pictures. Got lora instead.")
    if settings.class_weights and (splits.kind == "regression" or settings.method == "head"):
        what = "a regression" if splits.kind == "regression" else "method head"
        raise ValueError(f"class_weights must be left out of {what}. Got them instead.")
    names = label_names(splits.train, splits.kind)
    least, what = (1, "name") if splits.kind == "multi_label" else (2, "classes")
    if splits.kind != "regression" and len(names) < least:
        raise ValueError(
            f"label must have at least {least} {what}. Got {', '.join(names) or 'none'} instead."
        )
    if splits.kind != "tagging":  # a tag is one of many in its sentence; a missed one is a miss
        check_seen("validation", splits.validation, splits.kind, names)


def _fit_head(
    network: TaskNetwork,
    tokenizer: Tokenizer,
    data: Data,
    splits: Splits,
    settings: Settings,
    metric: str,
) -> float:
    """Fits the map on frozen features, puts it in, and returns its score on validation."""
    if settings.method != "head" and len(data.train.items) > _START_ITEMS:
        few = at_most(_START_ITEMS, splits.train)
        data = encoded(splits._replace(train=few), network.task, tokenizer)
    found = features(network, tokenizer, data)
    is_last = settings.method == "head"
    linear_map = fitted(found, data, network.task, metric, splits.positive, is_last)
    set_head(network, linear_map)
    return linear_map.score


def set_trainable(network: TaskNetwork, settings: Settings) -> None:
    """Sets which weights are trained, and adds LoRA's matrices if that is the method."""
    network.network.requires_grad_(False)
    if settings.method == "lora":
        adapt_lora.add(network.network.text, settings.rank, settings.seed)
        network.to(network.device)
    elif network.task.reads == "picture":
        head = network.network.get_submodule("head")
        for name, weight in head.named_parameters():
            parts = name.split(".")
            weight.requires_grad_(
                not _is_after_features(parts, network.task) and not set(parts) & set(_FROZEN)
            )
    else:
        network.network.text.requires_grad_(True)
    network.head.requires_grad_(True)


def _is_after_features(parts: list[str], task: Task) -> bool:
    """Whether a weight of the head, by the parts of its name, comes after the features."""
    if parts[0] != "blocks":
        return False
    passed = int(parts[1]) + 1
    return passed > task.block or (task.units and passed == task.block and parts[2] == "down_proj")


def _head_size(network: TaskNetwork) -> int:
    return sum(w.numel() for w in network.head.parameters())


def _sizes(network: TaskNetwork) -> dict[str, int]:
    part = network.network.get_submodule("head" if network.task.reads == "picture" else "text")
    return {"parameters": sum(w.numel() for w in part.parameters()) + _head_size(network)}


def _digest(splits: Splits) -> str:
    """SHA-256 of the training and validation items, with their labels."""
    digest = hashlib.sha256()
    for item in (*splits.train, None, *splits.validation):
        if item is not None and isinstance(item.item, np.ndarray):
            digest.update(item.item.tobytes())
            item = item._replace(item=item.item.shape)
        digest.update(repr(item).encode())
    return digest.hexdigest()


def _read_plan(folder: Path | None, identity: dict[str, Any]) -> dict[str, Any] | None:
    """What an unfinished run in the folder had chosen; None where there is none.

    Raises:
        ValueError: it has another model, other items or other settings.
    """
    path = folder / PLAN if folder else None
    if path is None or not path.is_file():
        return None
    found = read_object(path, "settings", "weights", "items")
    wrong = [f"{k} {v}" for k, v in found["settings"].items() if identity["settings"].get(k) != v]
    others = [name for name in ("weights", "items") if found[name] != identity[name]]
    wrong += [f"{name} {found[name][:12]}" for name in others]
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
