"""A small GPT-2 and its training recipe, as small repositories have it: a peer of our training.

Written for this comparison in plain torch: learned positions, layer norms, GELU, AdamW with weight
decay 0.1 and betas 0.9 and 0.99, 100 steps of warm-up, cosine to a tenth of the peak.

Shape letters: B batch, L length, D width, H heads, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WARMUP = 100


class Layer(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first = nn.LayerNorm(width, bias=False)
        self.enter = nn.Linear(width, 3 * width, bias=False)
        self.leave = nn.Linear(width, width, bias=False)
        self.second = nn.LayerNorm(width, bias=False)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    def forward(self, state_BLD: Tensor) -> Tensor:
        batch, length, width = state_BLD.shape
        joint = self.enter(self.first(state_BLD)).view(batch, length, 3, self.heads, -1)
        query, key, value = joint.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        state_BLD = state_BLD + self.leave(mixed.transpose(1, 2).reshape(batch, length, width))
        return state_BLD + self.narrow(F.gelu(self.widen(self.second(state_BLD))))


class SmallGPT(nn.Module):
    """Token ids in, next-token logits (B, L, V) out."""

    def __init__(
        self, vocabulary: int, width: int = 128, depth: int = 4, heads: int = 4, context: int = 64
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(context, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.last = nn.LayerNorm(width, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                into_stream = name.endswith(("leave.weight", "narrow.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * depth) ** 0.5 if into_stream else 0.02)

    def forward(self, token_BL: Tensor) -> Tensor:
        state_BLD = self.table(token_BL) + self.places.weight[: token_BL.shape[1]]
        for layer in self.layers:
            state_BLD = layer(state_BLD)
        return F.linear(self.last(state_BLD), self.table.weight)


def make(
    vocabulary: int, plan: Any
) -> tuple[Callable[[Tensor], Tensor], nn.Module, Callable[[int], None]]:
    """The network as a function, the module that learns, and how step i moves it."""
    network = SmallGPT(vocabulary)
    optimizer = adamw(network, plan.rate)

    def move(step: int) -> None:
        done = (step - _WARMUP) / max(1, plan.steps - _WARMUP)
        cosine = 0.1 + 0.45 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * ((step + 1) / (_WARMUP + 1) if step < _WARMUP else cosine)
        optimizer.step()

    return network, network, move


def adamw(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    """The optimizer of the recipe: gains are not decayed."""
    matrices = [w for w in network.parameters() if w.ndim == 2]
    gains = [w for w in network.parameters() if w.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": gains, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)
