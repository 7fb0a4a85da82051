"""The text transformer arranged for answering: the same numbers from fewer, larger operations.

Inference is bound by memory traffic and by the number of operations, not by arithmetic. So the
projections of one state are one matrix, gains and factors of the norms before them are folded into
it, and rotations are computed once. Channels that are rotated together stand side by side, as one
complex number; queries and keys change their order alike, so their products stay. Where one token
is read, the queries of a group are rows of one product with its keys. Results equal those of
`TextTransformer.forward` up to rounding.

Shape letters: B batch, L length of queries, M length of keys, D width, H query heads, G key/value
heads, K head size, F width of the feed-forward part, N rows of a table or B L.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from tgp_multimodal.inference.products import Matrix
from tgp_multimodal.models.eager import as_complex
from tgp_multimodal.models.layers import KeyValueCache, rotary_tables
from tgp_multimodal.models.text_transformer import Block, TextTransformer


class LayerWeights(NamedTuple):
    """The weights of one block, joined and with the norms before them folded in.

    Attributes:
        qkv: queries, keys, values from the state, ((H + 2 G) K, D).
        gain: of queries and keys of length 1, (H + G, K); channels that are rotated together stand
            side by side.
        out: back into the stream, (D, H K).
        gate_up: gate and up, (2 F, D).
        down: (D, F).
    """

    qkv: Tensor
    gain: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor


class _Layer(NamedTuple):
    """`LayerWeights` laid out for products."""

    qkv: Matrix
    gain: Tensor
    out: Matrix
    gate_up: Matrix
    down: Matrix


class FusedText:
    """A text transformer for inference, made by `fused`.

    Attributes:
        plain_rows: up to so many rows are multiplied by every weight of the blocks as it is, by
            MKL if they are several.

    Args:
        text: the network; its weights are copied.
    """

    def __init__(self, text: TextTransformer) -> None:
        self.heads, self.groups, self.size = text.heads, text.key_value_heads, text.head_size
        self.theta, self.width = text.rope_theta, text.width
        self.table = text.embed_tokens.weight.detach()
        self.output = Matrix(self.table)
        self.last_gain = text.norm.weight.detach() * text.width**0.5
        sizes = torch.tensor([text.width, self.size], device=self.table.device)
        self.floor, self.head_floor = (sizes * text.norm.eps).sqrt().unbind()
        self.layers = [
            _Layer(Matrix(w.qkv), w.gain, Matrix(w.out), Matrix(w.gate_up), Matrix(w.down))
            for w in layer_weights(text)
        ]
        all_weights = [m for layer in self.layers for m in layer if isinstance(m, Matrix)]
        self.wide_rows = min((m.wide_rows for m in all_weights), default=0)
        self.plain_rows = min((m.plain_rows for m in all_weights), default=0)
        self.rotations = self._rotary(text.context)

    def states(
        self,
        token_BL: Tensor,
        position_BL: Tensor | None = None,
        allowed_BLM: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Final-normed hidden states (B, L, D).

        Args:
            token_BL: token ids.
            position_BL: their positions inside the context, (B, L) or (1, L); left out: those
                behind the cache, which then has no padding.
            allowed_BLM: True where a query may attend, (B, L, M), B and L may be 1; left out:
                everywhere. The output of a query that attends to nothing is undefined.
            cache: keys and values of earlier positions, M in all; it is extended. Rows with a
                shared prefix read one token at a time, and attend to everything.
        """
        walk = self.walk(token_BL, position_BL, allowed_BLM, cache)
        state_ND = deque(walk, maxlen=1)[0]
        state_ND = _unit(state_ND, self.floor) * self.last_gain
        return state_ND.to(self.table.dtype).view(*token_BL.shape, -1)

    def walk(
        self,
        token_BL: Tensor,
        position_BL: Tensor | None = None,
        allowed_BLM: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Iterator[Tensor]:
        """The residual stream (B L, D), first the embeddings, then behind each layer.

        Arguments are those of `states`.
        """
        start = 0 if cache is None else cache.end
        end = start + token_BL.shape[1]
        state_ND = F.embedding(token_BL, self.table).flatten(0, 1)
        if len(state_ND) <= self.wide_rows:
            state_ND = state_ND.float()  # where every product would widen it
        rotary = self._rows(position_BL, start, end)
        bias = None
        if allowed_BLM is not None:
            bias = torch.zeros(allowed_BLM.shape, dtype=self.table.dtype, device=token_BL.device)
            bias = bias.masked_fill_(~allowed_BLM, -torch.inf)[:, None]
        yield state_ND
        for index, layer in enumerate(self.layers):
            x = layer.qkv(_unit(state_ND, self.floor)).view(*token_BL.shape, -1, self.size)
            attended = self._attention(x, layer.gain, rotary, bias, cache, index)
            state_ND = layer.out(attended, state_ND)
            gate, up = layer.gate_up(_unit(state_ND, self.floor)).chunk(2, dim=-1)
            state_ND = layer.down(F.silu(gate).mul_(up), state_ND)
            yield state_ND
        if cache is not None:
            cache.length += token_BL.shape[1]

    def normed(self, stream_ND: Tensor) -> Tensor:
        """The stream as a layer reads it but for the gains, in float32."""
        return _unit(stream_ND.float(), self.floor) * self.width**0.5

    def logits(self, state: Tensor) -> Tensor:
        """Scores of every vocabulary entry, (..., V)."""
        return self.output(state.flatten(0, -2)).view(*state.shape[:-1], -1)

    def _attention(
        self,
        x: Tensor,
        gain: Tensor,
        rotary: Tensor,
        bias: Tensor | None,
        cache: KeyValueCache | None,
        index: int,
    ) -> Tensor:
        """Outputs of the heads, (B L, H K), from queries, keys, values (B, L, H + 2 G, K)."""
        batch, length, _, _ = x.shape
        query_key, value = x.split_with_sizes([self.heads + self.groups, self.groups], 2)
        query_key = _unit(query_key, self.head_floor) * gain
        query_key = torch.view_as_real(as_complex(query_key) * rotary).view(query_key.shape)
        query_key, value = (t.to(self.table.dtype).transpose(1, 2) for t in (query_key, value))
        query, key = query_key.split_with_sizes([self.heads, self.groups], 1)
        if cache is not None:
            key, value = cache.extend(index, key, value)
        if length > 1:
            assert cache is None or cache.prefix is None
            if x.device.type != "cpu":  # fused kernels there take a mask or groups, not both
                key, value = (
                    t.repeat_interleave(self.heads // self.groups, 1) for t in (key, value)
                )
            attended = F.scaled_dot_product_attention(
                query, key, value, bias, scale=1.0, enable_gqa=True
            )
            return attended.transpose(1, 2).reshape(batch * length, -1).to(x.dtype)
        # The heads of a group are queries of its keys.
        grouped = query.reshape(batch, self.groups, -1, self.size)
        if cache is not None and cache.prefix is not None:
            assert bias is None
            attended = _attend_after_prefix(cache.prefix.layer(index), grouped, key, value)
        else:
            attended = F.scaled_dot_product_attention(grouped, key, value, bias, scale=1.0)
        return attended.reshape(batch, -1).to(x.dtype)

    def _rows(self, position_BL: Tensor | None, start: int, end: int) -> Tensor:
        """Rotations of the positions, (B, L, 1, K / 2) or (L, 1, K / 2)."""
        if position_BL is None:
            return self.rotations[start:end, None]
        return self.rotations[position_BL][:, :, None]

    def _rotary(self, count: int) -> Tensor:
        """Rotations (N, K / 2) of the first `count` positions: complex numbers of length 1."""
        position_N = torch.arange(count, device=self.table.device)
        return torch.complex(*rotary_tables(position_N, self.size, self.theta))


def _attend_after_prefix(
    prefix: tuple[Tensor, Tensor], query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """Attention of rows (B, G, H / G, K) to keys and values that all of them share and their own.

    The shared ones are read once for all rows, in one product for each group.
    """
    batch, groups, heads, size = query.shape
    (prefix_key,), (prefix_value,) = prefix  # (G, M, K) each
    count = prefix_key.shape[1]
    beside = query.transpose(0, 1).reshape(groups, batch * heads, size)
    shared = (beside @ prefix_key.transpose(1, 2)).view(groups, batch, heads, count)
    logits = torch.cat((shared.transpose(0, 1), query @ key.transpose(-1, -2)), dim=-1)
    probability = logits.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    prefix_probability, own_probability = torch.split(probability, [count, key.shape[2]], dim=-1)
    prefix_probability = prefix_probability.transpose(0, 1).reshape(groups, batch * heads, count)
    attended = (prefix_probability @ prefix_value).view(groups, batch, heads, size).transpose(0, 1)
    return attended + own_probability @ value


def _unit(x: Tensor, floor: Tensor) -> Tensor:
    """Vectors of length 1, computed in float32: the root-mean-square norm but for a factor.

    The norm divides by sqrt(mean(x^2) + eps), which is 1/sqrt(K) of the hypotenuse of |x| and the
    floor, sqrt(K eps). The factor sqrt(K) is in the weights behind it.
    """
    wide = x.float()
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return (wide / torch.hypot(length, floor)).to(x.dtype)


@torch.no_grad()
def layer_weights(text: TextTransformer) -> list[LayerWeights]:
    """Copies of the weights of every block."""
    blocks = [block for block in text.layers if isinstance(block, Block)]
    return [_layer_weights(block, text.heads, text.key_value_heads) for block in blocks]


def _layer_weights(block: Block, heads: int, groups: int) -> LayerWeights:
    a, mlp = block.self_attn, block.mlp
    width, size = a.q_proj.in_features, a.q_norm.weight.numel()
    query_key = _paired(torch.cat([a.q_proj.weight, a.k_proj.weight]), size)
    qkv = torch.cat([query_key, a.v_proj.weight])
    gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
    # The norms' factor sqrt(K), and for queries attention's 1/sqrt(K).
    query = a.q_norm.weight.expand(heads, -1)
    key = (a.k_norm.weight * size**0.5).expand(groups, -1)
    gain = _paired(torch.cat((query, key)).float().flatten(), size).view(-1, size)
    return LayerWeights(
        qkv * (block.input_layernorm.weight * width**0.5),
        gain,
        a.o_proj.weight.clone(),
        gate_up * (block.post_attention_layernorm.weight * width**0.5),
        mlp.down_proj.weight.clone(),
    )


def _paired(x: Tensor, size: int) -> Tensor:
    """Channels of heads (H K, ...), with the two that are rotated together side by side."""
    return x.view(-1, 2, size // 2, *x.shape[1:]).transpose(1, 2).flatten(0, 2)


_made: "WeakKeyDictionary[TextTransformer, tuple[tuple[tuple[int, int], ...], FusedText]]"
_made = WeakKeyDictionary()


def causal_mask(length: int, device: torch.device) -> Tensor:
    """Each token sees itself and those before it, (1, L, L): what `FusedText.states` is told."""
    return torch.ones(1, length, length, dtype=torch.bool, device=device).tril()


def fused(text: TextTransformer) -> FusedText:
    """The network arranged for inference: made once, and again when a weight has changed."""
    state = tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in text.parameters())
    known = _made.get(text)
    if known is None or known[0] != state:
        known = state, FusedText(text)
        _made[text] = known
    return known[1]
