"""Norm, rotation and attention with backward passes written by hand, for where nothing compiles.

Autograd walks through every operation of a formula, and on a processor each walk reads and writes
the whole tensor. These compute the same gradients in a third of the walks. A compiler joins them by
itself, so compiled code keeps the plain formulas.

Shape letters: B batch, L queries, M keys, H heads, K head size, D normalised axis.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Normalised(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * gain over the last axis, in float32; the type of x is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain_D: Tensor, eps: float) -> Tensor:
        unit = x.float()
        length = torch.linalg.vector_norm(unit, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = unit * scale
        ctx.save_for_backward(unit, scale, gain_D)
        ctx.dtype = x.dtype
        return (unit * gain_D).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_out: Tensor) -> tuple[Tensor | None, ...]:
        unit, scale, gain_D = ctx.saved_tensors
        by_out = by_out.float()
        product = by_out * unit
        by_gain = product.flatten(0, -2).sum(0)
        along = product.mul_(gain_D).mean(-1, keepdim=True)
        by_unit = by_out * gain_D
        return by_unit.addcmul_(unit, along, value=-1).mul_(scale).to(ctx.dtype), by_gain, None


class Turned(torch.autograd.Function):
    """Pairs of channels, (first, second), rotated by angles that are not learned."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor, are_halves: bool) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        ctx.are_halves, ctx.dtype = are_halves, x.dtype
        return _turned(x, cosine, sine, are_halves, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_out: Tensor) -> tuple[Tensor | None, ...]:
        cosine, sine = ctx.saved_tensors
        by_x = _turned(by_out, cosine, sine, ctx.are_halves, -1)
        return by_x.to(ctx.dtype), None, None, None


def _turned(x: Tensor, cosine: Tensor, sine: Tensor, are_halves: bool, sign: int) -> Tensor:
    x = x.float()
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    (first, second), (to_first, to_second) = (_pairs(t, are_halves) for t in (x, out))
    torch.mul(first, cosine, out=to_first).addcmul_(second, sine, value=-sign)
    torch.mul(second, cosine, out=to_second).addcmul_(first, sine, value=sign)
    return out


def _pairs(x: Tensor, are_halves: bool) -> tuple[Tensor, Tensor]:
    first, second = x.chunk(2, dim=-1) if are_halves else (x[..., ::2], x[..., 1::2])
    return first, second


class Attended(torch.autograd.Function):
    """softmax(q kT) v, with the rows of the softmax in float32.

    The gradient of the logits is p (dp - sum(p dp)), and that sum is the product of the output with
    its gradient (Dao et al. 2022, arXiv:2205.14135, section 3.1).
    """

    @staticmethod
    def forward(
        ctx: Any, query_BHLK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, allowed: Tensor | None
    ) -> Tensor:
        logits = query_BHLK @ key_BHMK.mT
        if allowed is not None:
            logits.masked_fill_(~allowed, torch.finfo(logits.dtype).min)
        share_BHLM = logits.softmax(dim=-1, dtype=torch.float32).to(value_BHMK.dtype)
        out_BHLK = share_BHLM @ value_BHMK
        ctx.save_for_backward(query_BHLK, key_BHMK, value_BHMK, share_BHLM, out_BHLK)
        return out_BHLK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_out: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, share, out = ctx.saved_tensors
        by_value = share.mT @ by_out
        along = (out.float() * by_out).sum(-1, keepdim=True)
        by_logits = (by_out @ value.mT - along).mul_(share).to(share.dtype)
        return by_logits @ key, by_logits.mT @ query, by_value, None
