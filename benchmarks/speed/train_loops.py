"""Training of the text transformer, against the loops that people run.

Peers: a small GPT-2 in a loop of plain torch, and transformers' Qwen3 under `transformers.Trainer`.
The networks of the first differ from ours, so what is equal is the work: layers, width, heads,
vocabulary, context, tokens of a step, about as many weights.

Shape letters: B batch, L length, N positions.
"""

import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer as LightningTrainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from benchmarks.speed import exports, steps
from benchmarks.speed.harness import Contest, Side
from benchmarks.speed.small_gpt import SmallGPT, adamw
from benchmarks.speed.train_text import our_loss, our_network, their_model
from tgp_multimodal.data.records import TextRows
from tgp_multimodal.models.text_transformer import Block
from tgp_multimodal.objectives.language import HybridLanguage
from tgp_multimodal.training.module import TrainingModule

for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def contests(quick: bool) -> Iterator[Contest]:
    """Steps against steps, then whole fits against whole fits, then a fit against bare steps."""
    batch, length = (2, 64) if quick else (16, 256)
    generator = torch.Generator().manual_seed(0)
    row_BL = torch.randint(300, exports.VOCABULARY, (batch, length + 1), generator=generator)
    facts = {"batch": batch, "length": length, "width": 256, "depth": 6}
    chosen = steps.chosen_precision(*_ours(row_BL))
    yield _against_loop(row_BL, facts, chosen, "float32", False)
    if not quick:
        yield _against_loop(row_BL, facts, chosen, "bfloat16", True)
    count = 2 if quick else 10
    trainer, bare = "transformers.Trainer", "our steps without Lightning"
    for name, precision, peer in (
        (trainer, "float32", _their_fit),
        (trainer, "bfloat16", _their_fit),
        (bare, chosen, _our_steps),
    ):
        yield Contest(
            f"fit, {count} steps of {batch} x {length}",
            Side("TrainingModule, MuonAdamW", chosen, _our_fit(row_BL, chosen, count)),
            Side(name, precision, peer(row_BL, precision, count)),
            _tokens_apart,
            0,
            {**facts, "steps": count},
        )


def _tokens_apart(ours: float, theirs: float) -> float:
    return abs(ours - theirs)


def _against_loop(
    row_BL: Tensor, facts: dict[str, Any], chosen: str, precision: str, compiled: bool
) -> Contest:
    network, loss = _ours(row_BL)
    small = SmallGPT(exports.VOCABULARY, 256, 6, 4, row_BL.shape[1] - 1)
    step = steps.Step(small, _small_loss(small, row_BL), precision, _small_optimizer)
    if compiled:
        for part in network.modules():
            if isinstance(part, Block):
                part.compile()
        network.text.is_compiled = True
        small.compile()
    how = "compiled / compiled" if compiled else "eager / eager"
    sizes = [sum(p.numel() for p in part.parameters()) for part in (network, small)]
    mine = steps.Step(network, loss, chosen, steps.our_optimizer)
    return Contest(
        f"text step {row_BL.shape[0]} x {row_BL.shape[1] - 1}, {how}",
        Side("MuonAdamW", chosen, _counted(mine, row_BL, 1)),
        Side("small GPT, AdamW", precision, _counted(step, row_BL, 1)),
        _tokens_apart,
        0,
        {**facts, "parameters": sizes},
    )


def _counted(step: steps.Step, row_BL: Tensor, count: int) -> Callable[[], float]:
    """Does `count` steps and returns the tokens trained on, NaN if a loss is not finite."""

    def run() -> float:
        losses = [step() for _ in range(count)]
        return count * row_BL[:, 1:].numel() if all(map(math.isfinite, losses)) else math.nan

    return run


def _small_loss(small: SmallGPT, row_BL: Tensor) -> Callable[[], Tensor]:
    target_N = row_BL[:, 1:].flatten()
    return lambda: F.cross_entropy(small(row_BL[:, :-1]).flatten(0, 1), target_N)


def _small_optimizer(network: nn.Module, _: Any) -> torch.optim.Optimizer:
    return adamw(network, 1e-3)


def _ours(row_BL: Tensor) -> tuple[nn.Module, Callable[[], Tensor]]:
    network = our_network()
    return network, our_loss(network, row_BL)


def _our_steps(row_BL: Tensor, precision: str, count: int) -> Callable[[], float]:
    network = our_network()
    objective, rows = HybridLanguage(masked_rows=(0, 0)), _rows(row_BL)
    return _counted(
        steps.Step(
            network, lambda: objective.loss(network, rows, 0, 0).value, precision,
            steps.our_optimizer,
        ),
        row_BL,
        count,
    )  # fmt: skip


def _our_fit(row_BL: Tensor, precision: Any, count: int) -> Callable[[], float]:
    objective = HybridLanguage(masked_rows=(0, 0))
    module = TrainingModule(our_network(), {"text": objective}, precision=precision)
    module.choose_precision(dict)

    def run() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = LightningTrainer(
                accelerator="cpu",
                max_steps=count,
                gradient_clip_val=steps.CLIP,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(module, DataLoader([{"text": _rows(row_BL)}] * count, batch_size=None))
        return _learnt(trainer.global_step, row_BL, module)

    return run


def _learnt(count: int, row_BL: Tensor, network: nn.Module) -> float:
    """Tokens that `count` steps trained on, NaN if a weight is not finite."""
    is_sound = all(bool(torch.isfinite(p).all()) for p in network.parameters())
    return float(count * row_BL[:, 1:].numel()) if is_sound else math.nan


def _rows(row_BL: Tensor) -> TextRows:
    batch, length = row_BL.shape
    position_BL = torch.arange(length).expand(batch, -1)
    return TextRows(row_BL, position_BL, torch.zeros(batch, dtype=torch.bool), torch.arange(batch))


def _their_fit(row_BL: Tensor, precision: str, count: int) -> Callable[[], float]:
    model = their_model()
    rows = [{"input_ids": row, "labels": row} for row in row_BL[:, :-1]] * count

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainingArguments(
                folder,
                per_device_train_batch_size=len(row_BL),
                max_steps=count,
                bf16=precision == "bfloat16",
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
            )
            trainer = Trainer(model, settings, train_dataset=rows)
            trainer.train()
        return _learnt(trainer.state.global_step, row_BL, model)

    return run
