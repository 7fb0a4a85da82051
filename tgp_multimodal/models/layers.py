"""The parts that the text transformer and the diffusion head share.

Shape letters: B batch, L length of queries, M length of keys, D width, H heads, G key/value heads,
K head size.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgp_multimodal.models.attention_op import CausalMask, tiled_attention
from tgp_multimodal.models.eager import (
    RMSNormFunction,
    RotaryFunction,
    as_complex,
    normalised,
)

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


def at_least_one(owner: str, **sizes: int) -> None:
    """Checks that every size is at least 1.

    Raises:
        ValueError: one is below 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} of {owner} must be at least 1. Got {size} instead.")


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned gain (Zhang & Sennrich 2019, arXiv:1910.07467).

    Written out in float32 instead of `F.rms_norm`, which is eight times slower in bfloat16 on CPUs.
    """

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last axis of `x`; the type of `x` is kept."""
        if uses_manual_backward(x):
            return RMSNormFunction.apply(x, self.weight, self.eps)
        if is_eager_inference():
            return (normalised(x, self.eps)[0] * self.weight).to(x.dtype)
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return (self.weight * wide).to(x.dtype)


def rotary_tables(position: Tensor, size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34).

    Args:
        position: positions, any shape; whole numbers.
        size: number of channels that are rotated (even).
        theta: base of the geometric series of frequencies.

    Returns:
        Two float32 tensors of shape (*position.shape, size / 2).
    """
    exponent = torch.arange(0, size, 2, dtype=torch.float32, device=position.device) / size
    angle = position[..., None].float() * theta**-exponent
    return angle.cos(), angle.sin()


def rotate_halves(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotates channel i together with channel i + K/2, the pairing that Qwen3 uses."""
    if uses_manual_backward(x):
        return RotaryFunction.apply(x, cosine, sine, True)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def rotate_neighbours(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotates channel 2i together with channel 2i + 1, the pairing that PRX uses."""
    if uses_manual_backward(x):
        return RotaryFunction.apply(x, cosine, sine, False)
    if is_eager_inference():
        turned = as_complex(x.float()) * torch.complex(cosine, sine)
        return torch.view_as_real(turned).flatten(-2)
    even, odd = x.view(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(-2)


def attention(
    query_BHLK: Tensor,
    key_BGMK: Tensor,
    value_BGMK: Tensor,
    allowed: "Tensor | CausalMask | BlockMask | None",
) -> Tensor:
    """Scaled dot-product attention.

    On CPUs the fused kernel's forward pass is faster from about fifty positions on, but its
    backward pass is slow: in grad mode `tiled_attention` is used, compiled or not.

    Args:
        query_BHLK: queries.
        key_BGMK: keys; H is a multiple of G, and consecutive query heads share a key head.
        value_BGMK: values.
        allowed: True where a query may attend, (B, 1, L, M), where B and L may be 1; None:
            everywhere. A block mask skips the blocks in which no query attends; for compiled code
            alone. A causal mask skips most of what is ahead, on CPUs in grad mode.
    """
    groups = query_BHLK.shape[1] // key_BGMK.shape[1]
    if allowed is not None and not isinstance(allowed, (Tensor, CausalMask)):
        # Half a second to import; whoever made the blocks has done it (`block_attention`).
        kernel = torch.nn.attention.flex_attention.flex_attention
        three = (query_BHLK, key_BGMK, value_BGMK)
        return kernel(*three, block_mask=allowed, enable_gqa=groups > 1)
    causal = None
    if isinstance(allowed, CausalMask):
        allowed, causal = allowed
    if query_BHLK.device.type == "cpu" and torch.is_grad_enabled():
        query_BHLK = query_BHLK * query_BHLK.shape[-1] ** -0.5
        return tiled_attention(query_BHLK, key_BGMK, value_BGMK, allowed, causal)
    key_BHMK, value_BHMK = key_BGMK, value_BGMK
    if groups > 1:
        key_BHMK = key_BGMK.repeat_interleave(groups, dim=1)
        value_BHMK = value_BGMK.repeat_interleave(groups, dim=1)
    return F.scaled_dot_product_attention(query_BHLK, key_BHMK, value_BHMK, attn_mask=allowed)


def token_means(state_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Means over the tokens of each text, (B, D); padding, where the mask is False, does not count.

    Args:
        state_BLD: in float32.
        mask_BL: True at tokens.
    """
    weight_BL1 = mask_BL[:, :, None].float()
    return (state_BLD * weight_BL1).sum(1) / weight_BL1.sum(1)


def is_eager_inference() -> bool:
    """Whether no gradient is wanted and no compiler will fuse a formula."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling())


def uses_manual_backward(x: Tensor) -> bool:
    """Whether to use a hand-written backward pass: one is needed and no compiler will fuse it."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling() and x.requires_grad


class KeyValueCache:
    """Keys and values of every layer for positions that were already computed.

    They are in preallocated buffers, so that no decoding step copies what the last one wrote.

    Attributes:
        buffers: keys and values of each layer, (B, G, capacity, K) each.
        length: number of positions filled so far, without those of the prefix.
        start_B: number of left-padding positions of each row.
        prefix: cache of one row that all rows of this one continue; None: they continue nothing.
    """

    def __init__(
        self,
        depth: int,
        batch: int,
        heads: int,
        capacity: int,
        size: int,
        like: Tensor,
        start_B: Tensor | None = None,
    ) -> None:
        shape = (batch, heads, capacity, size)
        self.buffers = [(like.new_zeros(shape), like.new_zeros(shape)) for _ in range(depth)]
        self.start_B = (
            torch.zeros(batch, dtype=torch.long, device=like.device) if start_B is None else start_B
        )
        self.capacity = capacity
        self.length = 0
        self.prefix: KeyValueCache | None = None

    @property
    def end(self) -> int:
        """Position of the next token."""
        return self.length + (self.prefix.length if self.prefix else 0)

    def layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, (B, G, M, K) each."""
        keys, values = self.buffers[layer]
        return keys.narrow(2, 0, self.length), values.narrow(2, 0, self.length)

    def with_shared_prefix(self, batch: int, capacity: int) -> "KeyValueCache":
        """An empty cache of `batch` rows that all continue the one row of this cache."""
        keys, _ = self.buffers[0]
        rows, heads, _, size = keys.shape
        assert rows == 1, rows
        cache = KeyValueCache(len(self.buffers), batch, heads, capacity, size, keys)
        cache.prefix = self
        return cache

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the new keys and values behind the old ones and returns all of them.

        The caller advances `length` once, after the last layer.
        """
        new = key.shape[2]
        end = self.length + new
        assert end <= self.capacity, (end, self.capacity)
        keys, values = self.buffers[layer]
        keys.narrow(2, self.length, new).copy_(key)
        values.narrow(2, self.length, new).copy_(value)
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def rows(self, index_N: Tensor, capacity: int | None = None) -> "KeyValueCache":
        """A cache of the chosen rows, which may repeat; what is filled is copied.

        Args:
            index_N: numbers of the rows.
            capacity: most positions of the new cache; left out: as many as here.
        """
        keys, _ = self.buffers[0]
        _, heads, _, size = keys.shape
        shape = (len(self.buffers), len(index_N), heads, capacity or self.capacity, size)
        chosen = KeyValueCache(*shape, keys, self.start_B[index_N])
        for old, new in zip(self.buffers, chosen.buffers, strict=True):
            for filled, buffer in zip(old, new, strict=True):
                buffer[:, :, : self.length] = filled[index_N, :, : self.length]
        chosen.length, chosen.prefix = self.length, self.prefix
        return chosen
