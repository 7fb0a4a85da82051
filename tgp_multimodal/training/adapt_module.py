"""What adapting trains: the loss of each kind of task, AdamW, warm-up and linear decay.

Shape letters: N items or words, K outputs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor

from tgp_multimodal.data.labelled import Item, Kind, Predicted
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.evaluation import task_scores
from tgp_multimodal.inference.adapted import answer
from tgp_multimodal.inference.task_network import (
    Encoded,
    Prompt,
    Task,
    TaskNetwork,
    collate,
    encode,
    moved,
    outputs,
)

_UNKNOWN = -100  # a tag that training does not know; F.cross_entropy passes over it
_WARMUP = 0.1  # share of the steps
_POOL = 16  # batches whose items are sorted by length together


@dataclass(frozen=True)
class Examples:
    """Encoded items with their targets.

    Attributes:
        items: as they were given.
        encoded: as the network reads them.
        targets: for each item a number; for words, one each; for labels, a row of 0s and 1s.
    """

    items: Sequence[Item]
    encoded: list[Encoded]
    targets: list[np.ndarray]

    @classmethod
    def of(cls, items: Sequence[Item], task: Task, tokenizer: Tokenizer) -> "Examples":
        """Encodes items and numbers their labels."""
        encoded = encode(tokenizer, [item.item for item in items], task)
        index = {name: number for number, name in enumerate(task.labels)}
        targets = [
            _target(i.label, e.answers, task, index) for i, e in zip(items, encoded, strict=True)
        ]
        return cls(items, encoded, targets)

    def batches(self, size: int, seed: int, epoch: int) -> list[list[int]]:
        """Indices of the items in each batch of an epoch; items of similar length go together."""
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(len(self.items))
        found: list[list[int]] = []
        for start in range(0, len(order), _POOL * size):
            pool = sorted(order[start : start + _POOL * size], key=lambda i: self.encoded[i].length)
            found += [[int(i) for i in pool[at : at + size]] for at in range(0, len(pool), size)]
        return [found[i] for i in generator.permutation(len(found))]


def _target(label: Any, answers: int, task: Task, index: dict[str, int]) -> np.ndarray:
    if task.kind == "regression":
        return np.array([(label - task.offset) / task.spread], dtype=np.float32)
    if task.kind == "multi_label":
        return np.array([[name in label for name in index]], dtype=np.float32)
    names = (label,) if task.kind == "classification" else label[:answers]
    return np.array([index.get(name, _UNKNOWN) for name in names], dtype=np.int64)


def loss_of(
    output_NK: Tensor, target: Tensor, kind: Kind, weight_K: Tensor | None = None
) -> Tensor:
    """Mean loss: cross-entropy (binary, for each of several labels) or squared error.

    Args:
        output_NK: of the network.
        target: class numbers (N,), labels (N, K), or standardised quantities (N,).
        kind: of the task.
        weight_K: weight of each class; for labels, of the items that have each.
    """
    if kind == "regression":
        return F.mse_loss(output_NK[:, 0], target)
    if kind == "multi_label":
        return F.binary_cross_entropy_with_logits(output_NK, target, pos_weight=weight_K)
    if weight_K is None:
        return F.cross_entropy(output_NK, target, ignore_index=_UNKNOWN)
    # By the number of items: torch divides by their weights, which in a batch of one class cancel.
    total = F.cross_entropy(output_NK, target, weight_K, ignore_index=_UNKNOWN, reduction="sum")
    return total / (target != _UNKNOWN).sum()


def balanced(train: Examples, task: Task) -> Tensor:
    """Loss weights, (K,), that balance the classes, or each label's positives and negatives."""
    every = np.concatenate(train.targets)
    if task.kind == "multi_label":
        count_K = np.maximum(every.sum(0), 1)
        return torch.tensor((len(every) - count_K).clip(1) / count_K, dtype=torch.float32)
    count_K = np.bincount(every[every >= 0], minlength=task.outputs)
    return torch.tensor(len(every) / (task.outputs * np.maximum(count_K, 1)), dtype=torch.float32)


class Steps:
    """Numbers of steps without end: which batch is due is a function of the trainer's own step."""

    def __iter__(self) -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    def state_dict(self) -> dict[str, Any]:
        """Empty: nothing here can be resumed wrongly."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Does nothing; see `state_dict`."""


class AdaptModule(LightningModule):
    """Trains what is not frozen of a task network.

    Args:
        network: the network and its map.
        tokenizer: for padding.
        train: what is learned from.
        validation: what decides.
        rate: peak learning rate.
        batch: items of a step.
        seed: of the order of items.
        metric: by which it is judged.
        positive: the label of that metric, if it is "f1".
        weight_K: of each class in the loss.
    """

    def __init__(
        self,
        network: TaskNetwork,
        tokenizer: Tokenizer,
        train: Examples,
        validation: Examples,
        rate: float,
        batch: int,
        seed: int,
        metric: str,
        positive: str = "",
        weight_K: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.strict_loading = False  # a checkpoint holds what is trained, and not the rest
        self.network, self.tokenizer = network, tokenizer
        self.train_examples, self.validation_examples = train, validation
        self.rate, self.batch, self.seed = rate, batch, seed
        self.metric, self.positive = metric, positive
        self.weight_K = weight_K
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        self._prompt: Prompt | None = None

    def train_dataloader(self) -> Steps:
        return Steps()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        learned = [w for w in self.network.parameters() if w.requires_grad]
        matrices = [w for w in learned if w.ndim >= 2]
        others = [w for w in learned if w.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": 0.01},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.rate)

    def batch_items(self, step: int) -> list[int]:
        """Indices of the items of a step."""
        per_epoch = -(-len(self.train_examples.items) // self.batch)
        epoch, place = divmod(step, per_epoch)
        if self._epoch[0] != epoch:
            batches = self.train_examples.batches(self.batch, self.seed, epoch)
            self._epoch = (epoch, batches)
        return self._epoch[1][place]

    def training_step(self, _: int, batch_index: int) -> Tensor:
        batch_items = self.batch_items(self.trainer.global_step)
        network = self.network
        some = [self.train_examples.encoded[i] for i in batch_items]
        batch = collate(some, network.task, self.tokenizer.pad, network.side)
        target = np.concatenate([self.train_examples.targets[i] for i in batch_items])
        if self._prompt is None:  # of the text part, which learns nothing where pictures are read
            with torch.no_grad():
                self._prompt = network.prompt(self.tokenizer)
        output_NK = network(moved(batch, self.device), self._prompt)
        weight_K = None if self.weight_K is None else self.weight_K.to(self.device)
        target_N = torch.from_numpy(target).to(self.device)
        return loss_of(output_NK, target_N, network.task.kind, weight_K)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        factor = warmup_linear_decay(self.trainer.global_step, max(1, self.trainer.max_steps))
        for group in optimizer.param_groups:
            group["lr"] = self.rate * factor

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        checkpoint["state_dict"] = {
            name: value
            for name, value in checkpoint["state_dict"].items()
            if name in trained or name.startswith("network.head.")
        }

    def evaluate(self) -> tuple[float, float]:
        """The metric on the validation items and, to break ties, the loss."""
        examples, task = self.validation_examples, self.network.task
        found = outputs(self.network, self.tokenizer, examples.encoded)
        predicted = answers(found, examples.items, task)
        value = task_scores.value(self.metric, examples.items, predicted, self.positive)
        target = torch.from_numpy(np.concatenate(examples.targets))
        weight_K = None if self.weight_K is None else self.weight_K.cpu()
        loss = loss_of(torch.from_numpy(np.concatenate(found)), target, task.kind, weight_K)
        return value, float(loss)


def answers(found: Sequence[np.ndarray], items: Sequence[Item], task: Task) -> list[Predicted]:
    """Predictions from the outputs."""
    return [answer(o, task, i.item) for o, i in zip(found, items, strict=True)]


def warmup_linear_decay(step: int, steps: int) -> float:
    """Share of the peak rate: linear up over a tenth of the steps, then linear down towards 0.

    The first step has a share above 0, as has the last.
    """
    rising = max(1, round(_WARMUP * steps))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))
