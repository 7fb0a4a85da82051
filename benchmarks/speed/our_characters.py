"""Our side of time_to_loss, and its control: the same transformer moved by AdamW alone."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed import steps
from benchmarks.speed.characters import CONTEXT
from tgp_multimodal.models.networks import LanguageModel
from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.training.optim import MuonAdamW, parameter_groups, trapezoid
from tgp_multimodal.training.precision import Precision


def make(
    vocabulary: int, plan: Any
) -> tuple[Callable[[Tensor], Tensor], nn.Module, Callable[[int], None]]:
    """The network as a function, the module that learns, and how step i moves it."""
    network = LanguageModel(TextTransformer(vocabulary, 128, 4, 256, 4, 4, CONTEXT))
    groups = parameter_groups(network, plan.rate, plan.adamw_rate, plan.table_rate)
    for group in groups:
        if not plan.rate and group["rule"] == "muon":
            group.update(rule="adamw", lr=plan.adamw_rate)
        group["peak"] = group["lr"]
    arithmetic = Precision(_fastest(network, vocabulary, plan.batch))
    optimizer = MuonAdamW(groups, iterations=3, dtype=arithmetic.dtype)

    def move(step: int) -> None:
        factor = trapezoid((step + 1) / (plan.steps + 1), warmup=0.03, decay=0.6)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        optimizer.step()

    def forward(token_BL: Tensor) -> Tensor:
        with arithmetic.autocast("cpu"):
            return network.text.logits(network.text(token_BL)).float()

    return forward, network, move


def _fastest(network: LanguageModel, vocabulary: int, batch: int) -> str:
    """The arithmetic that `precision: auto` would choose, by some steps on a made-up batch."""
    token_BL = torch.arange(batch * CONTEXT).view(batch, -1) % vocabulary

    def loss() -> Tensor:
        return network.text.logits(network.text(token_BL)).float().logsumexp(-1).mean()

    return steps.chosen_precision(network, loss)
