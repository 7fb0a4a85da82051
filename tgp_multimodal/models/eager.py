"""Norm, rotary embedding and attention with hand-written backward passes, for eager mode.

Autograd goes through a formula operation by operation, and on a CPU each is a pass over the whole
tensor. These compute the same gradients in a third of the passes. A compiler fuses the operations
by itself, so compiled code keeps the plain formulas.

Shape letters: B batch, L queries or positions of text, M keys, P patches, H heads, K head size,
D normalised axis.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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


class AttentionFunction(torch.autograd.Function):
    """`attend`, which keeps its softmax for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, query_BHLK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, allowed: Tensor | None
    ) -> Tensor:
        probability, out = attend(query_BHLK, key_BHMK, value_BHMK, allowed)
        ctx.save_for_backward(query_BHLK, key_BHMK, value_BHMK, probability)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        return *_attention_gradients(grad_out, *ctx.saved_tensors), None


class Tile(NamedTuple):
    """Rows, some of their queries, and the keys among which are all that these may attend to."""

    rows: slice
    queries: slice
    keys: slice


class TiledMask(NamedTuple):
    """A mask, and the tiles outside of which it allows nothing.

    Attributes:
        allowed: True where a query may attend, (B, 1, L, M) or (1, 1, L, M).
        tiles: each query of each row is in one.
    """

    allowed: Tensor
    tiles: tuple[Tile, ...]

    def of(self, tile: Tile) -> Tensor:
        """The part of the mask that belongs to a tile."""
        rows = tile.rows if len(self.allowed) > 1 else slice(None)
        return self.allowed[rows, :, tile.queries, tile.keys]


class TiledAttentionFunction(torch.autograd.Function):
    """`AttentionFunction` tile by tile: what lies outside the tiles is not computed."""

    @staticmethod
    def forward(
        ctx: Any, query_BHLK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, mask: TiledMask
    ) -> Tensor:
        out_BHLK = torch.empty_like(query_BHLK)
        probabilities = []
        for tile in mask.tiles:
            rows, queries, keys = tile
            parts = query_BHLK[rows, :, queries], key_BHMK[rows, :, keys], value_BHMK[rows, :, keys]
            probability, out_BHLK[rows, :, queries] = attend(*parts, mask.of(tile))
            probabilities.append(probability)
        ctx.save_for_backward(query_BHLK, key_BHMK, value_BHMK, *probabilities)
        ctx.tiles = mask.tiles
        return out_BHLK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *probabilities = ctx.saved_tensors
        grad_query, grad_key, grad_value = map(torch.zeros_like, (query, key, value))
        for (rows, queries, keys), probability in zip(ctx.tiles, probabilities, strict=True):
            found = _attention_gradients(
                grad_out[rows, :, queries], query[rows, :, queries], key[rows, :, keys],
                value[rows, :, keys], probability,
            )  # fmt: skip
            grad_query[rows, :, queries] = found[0]
            grad_key[rows, :, keys] += found[1]
            grad_value[rows, :, keys] += found[2]
        return grad_query, grad_key, grad_value, None


def attend(
    query_BHLK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, allowed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """softmax(q kT) of shape (B, H, L, M), and its product with v, (B, H, L, K).

    On CPUs softmax sums in float32 whatever it reads and writes, and adding a penalty at masked
    positions is faster than filling them.

    Args:
        query_BHLK: queries, already scaled; of the same dtype as keys and values.
        key_BHMK: keys.
        value_BHMK: values.
        allowed: True where a query may attend, broadcastable to (B, H, L, M), at least once in each
            row; None: everywhere.
    """
    logits = query_BHLK @ key_BHMK.mT
    if allowed is not None:
        penalty = logits.new_zeros(allowed.shape)
        logits.add_(penalty.masked_fill_(~allowed, torch.finfo(logits.dtype).min))
    probability_BHLM = logits.softmax(dim=-1)
    return probability_BHLM, probability_BHLM @ value_BHMK


def _attention_gradients(
    grad_out: Tensor, query: Tensor, key: Tensor, value: Tensor, probability: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value."""
    grad_probability = grad_out @ value.mT
    # What autograd calls for a softmax; it too sums in float32.
    grad_logits = torch.ops.aten._softmax_backward_data(
        grad_probability, probability, -1, probability.dtype
    )
    return grad_logits @ key, grad_logits.mT @ query, probability.mT @ grad_out


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
        grad_query, grad_key, grad_value = _attention_gradients(grad_out, *attended)
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
