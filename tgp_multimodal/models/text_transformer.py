"""The shared text transformer: token ids in, hidden states out.

Parameter names, shapes and arithmetic are those of `transformers.Qwen3Model`, so that export is a
copy without renaming. One switch, `is_causal`, makes the same weights a decoder (left context only)
or an encoder (both sides).

Shape letters: B batch, L length, M length of keys, D width, H heads, G key/value heads, K head
size, V vocabulary.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgp_multimodal.models.attention_op import CausalMask
from tgp_multimodal.models.layers import (
    KeyValueCache,
    RMSNorm,
    at_least_one,
    attention,
    rotary_tables,
    rotate_halves,
)

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


_BLOCK_MASK_LENGTH = 256  # tokens; two blocks of attention


class Attention(nn.Module):
    """Grouped-query attention with a norm on every query and key head (Qwen3)."""

    def __init__(self, width: int, heads: int, key_value_heads: int, head_size: int) -> None:
        super().__init__()
        self.head_size = head_size
        self.q_proj = nn.Linear(width, heads * head_size, bias=False)
        self.k_proj = nn.Linear(width, key_value_heads * head_size, bias=False)
        self.v_proj = nn.Linear(width, key_value_heads * head_size, bias=False)
        self.o_proj = nn.Linear(heads * head_size, width, bias=False)
        self.q_norm = RMSNorm(head_size)
        self.k_norm = RMSNorm(head_size)

    def forward(
        self,
        state_BLD: Tensor,
        rotary: tuple[Tensor, Tensor],
        allowed: "Tensor | CausalMask | BlockMask",
    ) -> Tensor:
        split = (*state_BLD.shape[:-1], -1, self.head_size)
        query = self.q_norm(self.q_proj(state_BLD).view(split)).transpose(1, 2)
        key = self.k_norm(self.k_proj(state_BLD).view(split)).transpose(1, 2)
        value = self.v_proj(state_BLD).view(split).transpose(1, 2)
        query = rotate_halves(query, *rotary).to(value.dtype)
        key = rotate_halves(key, *rotary).to(value.dtype)
        mixed = attention(query, key, value, allowed)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU, down(silu(gate(x)) * up(x)), no biases (Shazeer 2020, arXiv:2002.05202, eq. 6)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(
        self, width: int, feed_forward: int, heads: int, key_value_heads: int, head_size: int
    ) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, key_value_heads, head_size)
        self.mlp = FeedForward(width, feed_forward)
        self.input_layernorm = RMSNorm(width)
        self.post_attention_layernorm = RMSNorm(width)

    def forward(
        self,
        state_BLD: Tensor,
        rotary: tuple[Tensor, Tensor],
        allowed: "Tensor | CausalMask | BlockMask",
    ) -> Tensor:
        state_BLD = state_BLD + self.self_attn(self.input_layernorm(state_BLD), rotary, allowed)
        return state_BLD + self.mlp(self.post_attention_layernorm(state_BLD))


class TextTransformer(nn.Module):
    """The transformer that every modality shares.

    Args:
        vocabulary: number of token ids, V.
        width: size of a hidden state, D.
        depth: number of layers.
        feed_forward: hidden size of the feed-forward part.
        heads: query heads, H.
        key_value_heads: key and value heads, G; divides `heads`.
        context: longest row the model is meant for, in tokens.
        rope_theta: base of the rotary frequencies.

    Attributes:
        make_block_mask: makes FlexAttention's mask of long unpadded rows while a gradient is wanted
            (`block_attention.visible_blocks`); set where layers are compiled on a GPU. None: a
            dense mask.
        is_compiled: whether layers are compiled for training, and the cross-entropy with them.
        compiles_steps: whether generation uses compiled steps (`inference.compiled`).
    """

    def __init__(
        self,
        vocabulary: int = 4096,
        width: int = 256,
        depth: int = 6,
        feed_forward: int = 640,
        heads: int = 4,
        key_value_heads: int = 2,
        context: int = 1024,
        rope_theta: float = 10000.0,
    ) -> None:
        super().__init__()
        at_least_one(
            "TextTransformer", vocabulary=vocabulary, width=width, depth=depth,
            feed_forward=feed_forward, heads=heads, key_value_heads=key_value_heads,
            context=context,
        )  # fmt: skip
        if width % heads or heads % key_value_heads or (width // heads) % 2:
            raise ValueError(
                "width must be an even multiple of heads, and heads a multiple of key_value_heads. "
                f"Got width={width}, heads={heads}, key_value_heads={key_value_heads} instead."
            )
        self.vocabulary, self.width, self.depth = vocabulary, width, depth
        self.feed_forward, self.heads, self.key_value_heads = feed_forward, heads, key_value_heads
        self.context, self.rope_theta = context, rope_theta
        self.make_block_mask: Callable[[Tensor, bool | Tensor], BlockMask] | None = None
        self.is_compiled = self.compiles_steps = False
        self.head_size = width // heads
        self.embed_tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(
            Block(width, feed_forward, heads, key_value_heads, self.head_size) for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws fresh weights: embeddings of std 0.02, matrices of std 1/sqrt(fan-in).

        Zero-initialised `o_proj` and `down_proj` make every layer start as the identity.
        """
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        for name, weight in self.layers.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
            else:
                nn.init.ones_(weight)
        nn.init.ones_(self.norm.weight)

    def forward(
        self,
        token_BL: Tensor,
        position_BL: Tensor | None = None,
        is_causal: bool | Tensor = True,
        mask_BL: Tensor | None = None,
        depth: int | None = None,
    ) -> Tensor:
        """Final-normed hidden states of shape (B, L, D).

        Args:
            token_BL: token ids.
            position_BL: positions; they restart at 0 where a packed document starts, and documents
                of one row do not attend to each other. Left out: one document per row.
            is_causal: True, False, or one truth value per row, shape (B,).
            mask_BL: False at padding, which no other token attends to.
            depth: how many layers to run before the final norm; left out: all.
        """
        if position_BL is None:
            position_L = torch.arange(token_BL.shape[1], device=token_BL.device)
            position_BL = position_L.expand_as(token_BL)
        is_long = mask_BL is None and position_BL.shape[1] >= _BLOCK_MASK_LENGTH
        if self.make_block_mask is not None and is_long and torch.is_grad_enabled():
            block_mask = self.make_block_mask(position_BL, is_causal)
            return self._run(token_BL, position_BL, block_mask, depth)
        allowed = visible(position_BL, is_causal, mask_BL)[:, None]
        if token_BL.device.type == "cpu" and torch.is_grad_enabled():
            mask = CausalMask(allowed, _leading(is_causal, len(token_BL)))
            return self._run(token_BL, position_BL, mask, depth)
        return self._run(token_BL, position_BL, allowed, depth)

    def _run(
        self,
        token_BL: Tensor,
        position_BL: Tensor,
        allowed: "Tensor | CausalMask | BlockMask",
        depth: int | None,
    ) -> Tensor:
        state_BLD = self.embed_tokens(token_BL)
        cosine, sine = rotary_tables(position_BL[:, None], self.head_size, self.rope_theta)
        for layer in self.layers[:depth]:
            state_BLD = layer(state_BLD, (cosine, sine), allowed)
        return self.norm(state_BLD)

    def logits(self, state: Tensor) -> Tensor:
        """Logits over the vocabulary, (..., V), by the token embeddings, which are tied."""
        return F.linear(state, self.embed_tokens.weight)

    def new_cache(self, batch: int, capacity: int, start_B: Tensor | None = None) -> KeyValueCache:
        """An empty cache for `batch` rows of up to `capacity` tokens.

        Args:
            batch: number of rows, B.
            capacity: most positions that the cache will hold, padding included.
            start_B: how many positions of padding stand in front of each row; left out: none.
        """
        table = self.embed_tokens.weight
        shape = (self.depth, batch, self.key_value_heads, capacity, self.head_size)
        return KeyValueCache(*shape, table, start_B)


def _leading(is_causal: bool | Tensor, rows: int) -> Tensor:
    """How many of the leading rows are causal."""
    if isinstance(is_causal, Tensor):
        return is_causal.long().cumprod(0).sum()
    return torch.tensor(rows if is_causal else 0)


def visible(position_BL: Tensor, is_causal: bool | Tensor, mask_BL: Tensor | None) -> Tensor:
    """The attention mask, (B, L, L): same document, nothing ahead if causal, no padding.

    Documents are told apart by the positions alone: each 0 starts one. Padding attends to itself,
    so that no row of the softmax is empty.
    """
    length = position_BL.shape[1]
    document_BL = (position_BL == 0).cumsum(dim=1)
    allowed = document_BL[:, :, None] == document_BL[:, None, :]
    index = torch.arange(length, device=position_BL.device)
    is_past_LL = index[:, None] >= index
    if isinstance(is_causal, Tensor):
        allowed = allowed & (is_past_LL | ~is_causal[:, None, None])
    elif is_causal:
        allowed = allowed & is_past_LL
    if mask_BL is not None:
        itself = index[:, None] == index
        allowed = allowed & (mask_BL[:, None, :].bool() | itself)
    return allowed
