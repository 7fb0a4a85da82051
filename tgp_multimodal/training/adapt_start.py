"""Before the first step: how items are read, and the map fitted on frozen features.

Shape letters: N items or words, F features, K outputs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from tgp_multimodal.data.labelled import Item, Splits, label_names
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.evaluation import task_scores
from tgp_multimodal.evaluation.task_start import LinearMap, Targets, fit
from tgp_multimodal.inference.picture_features import features_of_views, usual, views
from tgp_multimodal.inference.task_network import (
    Pairs,
    Task,
    TaskNetwork,
    Words,
    check_reads,
    feature_count,
    outputs,
)
from tgp_multimodal.models.networks import Multimodal, Network
from tgp_multimodal.training.adapt_module import Examples, answers

_MOST_NUMBERS = 10**8  # features of all items together: 0.8 GB in float64, a few times over
_COMPARED = 1000  # most training items, and validation items, on which ways to read are compared


class Data(NamedTuple):
    """The items that are learned from and those that decide, as the network reads them."""

    train: Examples
    validation: Examples


def task_of(network: Network, splits: Splits, length: int, pairs: Pairs) -> Task:
    """The task of the splits, with items read in the default way.

    Raises:
        ValueError: the network cannot read such items, or `length` leaves no room for any.
    """
    check_reads(network, splits.reads)
    if length < 4:
        raise ValueError(f"length must be at least 4. Got {length} instead.")
    names = label_names(splits.train, splits.kind)
    task = Task(
        splits.kind,
        splits.reads,
        tuple(names),
        min(length, network.text.context),
        pairs,
    )
    if splits.kind == "regression":
        values = np.array([item.label for item in splits.train], dtype=float)
        return replace(task, offset=float(values.mean()), spread=float(values.std()) or 1.0)
    if splits.reads == "picture":  # until a view is chosen
        assert isinstance(network, Multimodal)
        return replace(task, **usual(network.head)._asdict())
    return task


def at_most(count: int, items: Sequence[Item]) -> list[Item]:
    """All of the items, or so many of them at random, in their order.

    Every so many-th would miss whole classes of a table whose classes take turns.
    """
    chosen = np.random.default_rng(0).permutation(len(items))[:count]
    return [items[i] for i in np.sort(chosen).tolist()]


def best_reading(
    network: Network,
    tokenizer: Tokenizer,
    task: Task,
    splits: Splits,
    metric: str,
    is_frozen: bool = False,
) -> Task:
    """The task with the way of reading items whose linear map scores best on validation.

    Words are the mean of their tokens or the last one; pictures are read at one of several depths,
    times and activations of the diffusion head. Where the network stays as it is, the states of all
    layers are another way to read texts (from both sides, and causally) and words. Ties keep the
    first.
    """
    if task.reads == "picture":
        assert isinstance(network, Multimodal)
        tasks = [replace(task, **v._asdict()) for v in views(network.head)]
    else:
        ways: tuple[Words, ...] = ("mean", "last") if task.reads == "words" else ("mean",)
        tasks = [replace(task, words=way) for way in ways]
        if is_frozen:
            tasks += _of_layers(network, tasks, splits)
    if len(tasks) == 1:
        return task
    few, held = (at_most(_COMPARED, part) for part in (splits.train, splits.validation))
    fewer = splits._replace(train=few, validation=held)
    found = _features_of(network, tokenizer, tasks, fewer)
    maps = [
        fitted(features, data, one, metric, splits.positive)
        for one, (features, data) in zip(tasks, found, strict=True)
    ]
    return max(zip(maps, tasks, strict=True), key=lambda pair: pair[0].score)[1]


def _of_layers(network: Network, tasks: Sequence[Task], splits: Splits) -> list[Task]:
    """The tasks with all layers to read, where there is room for their features; none of pairs."""
    task = tasks[0]
    if task.reads == "pair":
        return []
    items = [*splits.train, *splits.validation]
    count = sum(len(item.item) for item in items) if task.reads == "words" else len(items)
    wide = [replace(one, states="layers") for one in tasks]
    if task.reads == "text":
        wide.append(replace(wide[0], causal=True))
    return wide if count * feature_count(network, wide[0]) <= _MOST_NUMBERS else []


def _features_of(
    network: Network, tokenizer: Tokenizer, tasks: Sequence[Task], splits: Splits
) -> list[tuple[np.ndarray, Data]]:
    """Features of training and validation items together, in each way to read."""
    if tasks[0].reads != "picture":
        found = []
        for task in tasks:
            data = encoded(splits, task, tokenizer)
            found.append((features(TaskNetwork(network, task), tokenizer, data), data))
        return found
    assert isinstance(network, Multimodal)
    data = encoded(splits, tasks[0], tokenizer)
    pictures = [item.item for item in (*splits.train, *splits.validation)]
    wanted = [task.view for task in tasks]
    return [(f, data) for f in features_of_views(network, tokenizer, pictures, wanted)]


def encoded(splits: Splits, task: Task, tokenizer: Tokenizer) -> Data:
    """Training and validation items as the network reads them."""
    parts = (splits.train, splits.validation)
    return Data(*(Examples.of(items, task, tokenizer) for items in parts))


def features(network: TaskNetwork, tokenizer: Tokenizer, data: Data) -> np.ndarray:
    """Features of training items, then of validation items, (N, F)."""
    both = [*data.train.encoded, *data.validation.encoded]
    return np.concatenate(outputs(network, tokenizer, both, is_features=True))


def fitted(
    features_NF: np.ndarray,
    data: Data,
    task: Task,
    metric: str,
    positive: str = "",
    is_refitted: bool = False,
) -> LinearMap:
    """The best map on features, the penalty chosen by the metric on validation items.

    Args:
        features_NF: what `features` gives.
        data: the items.
        task: what is judged.
        metric: that decides.
        positive: the label of that metric, if it is "f1".
        is_refitted: whether the map is fitted once more, on validation items too.
    """
    values = np.concatenate([*data.train.targets, *data.validation.targets])
    count = sum(len(t) for t in data.train.targets)
    fit_on, held = np.arange(count), np.arange(count, len(values))
    if task.kind in ("classification", "tagging"):
        fit_on = fit_on[values[fit_on] >= 0]
    kinds = {"regression": "quantity", "multi_label": "labels"}
    kind = kinds.get(task.kind, "classes")
    targets = Targets(kind, values > 0.5 if kind == "labels" else values, task.outputs)
    items = data.validation.items
    ends = np.cumsum([e.answers for e in data.validation.encoded])[:-1]

    def judge(output_NK: np.ndarray) -> float:
        predicted = answers(np.split(output_NK, ends), items, task)
        return task_scores.value(metric, items, predicted, positive)

    known = is_refitted and bool((values[held] >= 0).all() or kind != "classes")
    return fit(features_NF.astype(np.float64), targets, fit_on, held, judge, known)


@torch.no_grad()
def set_head(network: TaskNetwork, found: LinearMap) -> None:
    """Gives the network's linear map the values of a fitted one."""
    head = network.head
    for there, value in (
        (head.mean, found.mean_F),
        (head.scale, found.scale_F),
        (head.linear.weight, found.weight_KF),
        (head.linear.bias, found.bias_K),
    ):
        there.copy_(torch.from_numpy(value))
