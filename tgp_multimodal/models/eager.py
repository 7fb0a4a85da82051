"""Norm, rotary embedding and the head's attention, backward passes by hand, for eager mode.

Autograd goes through a formula operation by operation, and on a CPU each is a pass over the whole
tensor. These compute the same gradients in a third of the passes. A compiler fuses the operations
by itself, so compiled code keeps the plain formulas.

Shape letters: B batch, L queries or positions of text, M keys, P patches, H heads, K head size,
D normalised axis.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tgp_multimodal.models.attention_op import attend, attention_gradients


class RMSNormFunction(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * gain over the last axis, in float32; the type of x is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain_D: Tensor, eps: float) -> Tensor:
        unit, scale = normalised(x, eps)
        ctx.save_for_backward(unit, scale, gain_D)
        ctx.dtype = x.dtype
        return (unit * gain_D).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        unit, scale, gain_D = ctx.saved_tensors
        grad_out = grad_out.float()
        product = grad_out * unit
        grad_gain = product.flatten(0, -2).sum(0)
        along = product.mul_(gain_D).mean(-1, keepdim=True)
        grad_unit = grad_out * gain_D
        return grad_unit.addcmul_(unit, along, value=-1).mul_(scale).to(ctx.dtype), grad_gain, None


def normalised(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Vectors of root-mean-square 1, and the factors that made them so; in float32."""
    wide = x.float()
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return wide * scale, scale


class RotaryFunction(torch.autograd.Function):
    """Pairs of channels, (first, second), rotated by angles that are not learned."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor, are_halves: bool) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        ctx.are_halves, ctx.dtype = are_halves, x.dtype
        return _rotate(x, cosine, sine, are_halves, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        cosine, sine = ctx.saved_tensors
        grad_x = _rotate(grad_out, cosine, sine, ctx.are_halves, -1)
        return grad_x.to(ctx.dtype), None, None, None


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor, are_halves: bool, sign: int) -> Tensor:
    x = x.float()
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    (first, second), (to_first, to_second) = (_pairs(t, are_halves) for t in (x, out))
    torch.mul(first, cosine, out=to_first).addcmul_(second, sine, value=-sign)
    torch.mul(second, cosine, out=to_second).addcmul_(first, sine, value=sign)
    return out


def _pairs(x: Tensor, are_halves: bool) -> tuple[Tensor, Tensor]:
    first, second = x.chunk(2, dim=-1) if are_halves else (x[..., ::2], x[..., 1::2])
    return first, second


class PatchAttentionFunction(torch.autograd.Function):
    """Attention of patches over text and patches, from the projections to the heads' outputs.

    Queries and keys of patches are normalised and rotated together in one float32 tensor, and
    written once, to where the matrix products read them. Returns (B, P, H K).

    Args:
        projected: queries, keys and values of the patches, (B, P, 3, H, K).
        text_key_BHLK: keys of the text, normalised.
        text_value_BHLK: its values.
        gain: of the normalised queries of all heads, with the scale of their products, then of the
            keys; (2 H K).
        eps: of the normalisation.
        turn: rotation of neighbouring channels, as complex numbers (P, 1, 1, K/2).
        allowed: True where a patch may look, (B, 1, 1, L + P); None: everywhere.
    """

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        text_key_BHLK: Tensor,
        text_value_BHLK: Tensor,
        gain: Tensor,
        eps: float,
        turn: Tensor,
        allowed: Tensor | None,
    ) -> Tensor:
        batch, patches, _, heads, size = projected.shape
        assert len(text_key_BHLK) == batch, (len(text_key_BHLK), batch)
        both, scale = normalised(projected[:, :, :2], eps)
        both.view(-1, len(gain)).mul_(gain)
        as_complex(both).mul_(turn)
        query, patch_key = both.permute(2, 0, 3, 1, 4).unbind()
        query = query.to(projected.dtype, copy=True, memory_format=torch.contiguous_format)
        length = text_key_BHLK.shape[2]
        key, value = query.new_empty(2, batch, heads, length + patches, size).unbind()
        key[:, :, :length], key[:, :, length:] = text_key_BHLK, patch_key
        value[:, :, :length] = text_value_BHLK
        value[:, :, length:] = _swapped(projected[:, :, 2])
        probability, out = attend(query, key, value, allowed)
        ctx.save_for_backward(projected, scale, gain, turn, query, key, value, probability)
        return _swapped(out).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        projected, scale, gain, turn, *attended = ctx.saved_tensors
        batch, patches, _, heads, size = projected.shape
        grad_out = _swapped(grad_out.reshape(batch, patches, heads, size)).contiguous()
        grad_query, grad_key, grad_value = attention_gradients(grad_out, *attended)
        length = grad_key.shape[2] - patches
        grad_both = scale.new_empty(batch, patches, 2, heads, size)
        grad_both[:, :, 0] = _swapped(grad_query)
        grad_both[:, :, 1] = _swapped(grad_key[:, :, length:])
        as_complex(grad_both).mul_(turn.conj())
        unit = projected[:, :, :2] * scale
        product = grad_both * unit
        grad_gain = product.view(-1, len(gain)).sum(0)
        product.view(-1, len(gain)).mul_(gain)
        grad_both.view(-1, len(gain)).mul_(gain)
        grad_both.addcmul_(unit, product.mean(-1, keepdim=True), value=-1).mul_(scale)
        grad_projected = torch.empty_like(projected, memory_format=torch.contiguous_format)
        grad_projected[:, :, :2] = grad_both
        grad_projected[:, :, 2] = _swapped(grad_value[:, :, length:])
        text = grad_key[:, :, :length], grad_value[:, :, :length]
        return grad_projected, *text, grad_gain, None, None, None


def as_complex(x: Tensor) -> Tensor:
    """Neighbouring channels as one complex number, in the same memory."""
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


def _swapped(x: Tensor) -> Tensor:
    """Axes 1 and 2, heads and patches, in each other's place."""
    return x.transpose(1, 2)
