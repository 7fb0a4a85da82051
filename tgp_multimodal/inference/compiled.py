"""Compiled decoding steps: each reads one new token of every row.

Called one by one, the operations of a small network cost more in overhead than in arithmetic.
Compiled, a step for one row is loop after loop without calls between them, matrix products
included, which read a bfloat16 weight as it is. Several rows are multiplied by MKL where it suits
the weights (`products`), else by oneDNN in bfloat16. Results equal those of `FusedText.states` up
to rounding.

Shape letters: B rows, M positions in the cache, D width, E outputs, H query heads, G key/value
heads, K head size.
"""

import functools
import types
from collections.abc import Callable, Hashable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from tgp_multimodal.inference.fused import FusedText, LayerWeights, fused, layer_weights
from tgp_multimodal.inference.products import SMALL
from tgp_multimodal.models.layers import KeyValueCache
from tgp_multimodal.models.text_transformer import TextTransformer

_MOST_ROWS = 16  # above, little is gained on Intel processors
_VERY_LITTLE = torch.finfo(torch.float32).min  # finite, so that what padding takes is a number


def compile_steps(text: TextTransformer) -> None:
    """Compiles the decoding steps of the network, which generation then uses.

    There are two forms, of a single row and of several. Each takes some twenty seconds, a few where
    an earlier process has left it in torch's cache, and nothing where a network of the same shape
    has been used. The weights of the blocks are held once more for each form.

    Raises:
        ValueError: the network is not on a CPU, or there is no C++ compiler.
    """
    device = text.embed_tokens.weight.device
    if device.type != "cpu":
        raise ValueError(f"compile must be asked of a network on a CPU. Got {device} instead.")
    text.compiles_steps = True
    try:
        _run_both_forms(text)
    except BaseException as error:
        text.compiles_steps = False
        if not isinstance(error, torch._dynamo.exc.BackendCompilerFailed):
            raise
        inner = error.inner_exception
        (why, *_) = str(inner).splitlines() or [""]
        raise ValueError(
            "compile must find a C++ compiler that works, such as g++ ($CXX names one). "
            f"Got {type(inner).__name__} ({why}) instead."
        ) from error


@torch.inference_mode()
def _run_both_forms(text: TextTransformer) -> None:
    known = compiled(text)
    assert known is not None
    for rows in (1, 3):
        cache = text.new_cache(rows, 7)
        cache.length = 4
        if steps := known.steps(cache):
            steps.read(torch.zeros(rows, dtype=torch.long))


def compiled(text: TextTransformer) -> "CompiledText | None":
    """The network with compiled steps; None if `compile_steps` has not asked for them."""
    if not text.compiles_steps:
        return None
    network = fused(text)
    if network not in _made:
        # Tensors made in inference mode are others to the compiler: it would compile anew.
        with torch.inference_mode(False), torch.no_grad():
            _made[network] = CompiledText(text, network)
    return _made[network]


class CompiledText:
    """The weights of a text transformer, laid out for compiled steps.

    Attributes:
        most_rows: up to so many rows are read faster than by `FusedText.states`.

    Args:
        text: the network; its weights are copied.
        network: the same, arranged for answering.
    """

    def __init__(self, text: TextTransformer, network: FusedText) -> None:
        floor, head_floor = float(network.floor), float(network.head_floor)
        self.shape = _Shape(network.heads, network.groups, network.size, floor**2, head_floor**2)
        self.table, self.last_gain = network.table, network.last_gain
        self.rotations = torch.view_as_real(network.rotations.clone())
        layers = layer_weights(text)
        self.weights = LayerWeights(*map(torch.stack, zip(*layers, strict=True)))
        sizes = [tuple(w.shape) for w in (self.table, *self.weights)]
        self.step = _compiled((self.shape, self.table.dtype, *sizes))
        self.most_rows, dtype = self._several_rows(network)
        if self.most_rows > 1:
            turned = [w.to(dtype).transpose(1, 2).contiguous() for w in self.weights]
            self.turned_weights = LayerWeights(*turned)._replace(gain=self.weights.gain)

    def _several_rows(self, network: FusedText) -> tuple[int, torch.dtype]:
        """Up to how many rows are read faster, and in which type their products are."""
        dtype = self.table.dtype
        if network.plain_rows > 1:
            return min(network.plain_rows, _MOST_ROWS), torch.float32
        # oneDNN repacks the weights at each product, which is worth it in bfloat16.
        is_small = all(w[0].numel() <= SMALL for w in self.weights)
        return (_MOST_ROWS if is_small and dtype == torch.bfloat16 else 1), dtype

    def reads(self, rows: int) -> bool:
        """Whether so many rows are few enough."""
        return rows <= self.most_rows

    def steps(self, cache: KeyValueCache) -> "CompiledSteps | None":
        """Steps that extend the cache; None for more rows than `most_rows`, or a shared prefix."""
        if cache.prefix is not None or not self.reads(len(cache.start_B)):
            return None
        return CompiledSteps(self, cache)


class CompiledSteps:
    """Reads token after token of the rows of a cache."""

    def __init__(self, text: CompiledText, cache: KeyValueCache) -> None:
        is_one = len(cache.start_B) == 1
        for buffer in (buffer for pair in cache.buffers for buffer in pair):
            _vary(buffer, 2)
            if not is_one:
                _vary(buffer, 0)
        if not is_one:
            _vary(cache.start_B, 0)
        weights = text.weights if is_one else text.turned_weights
        self.cache, self.text = cache, text
        fixed = text.shape, weights, text.table, text.rotations
        self._step = functools.partial(text.step, *fixed, cache.start_B, cache.buffers)

    def read(self, token_B: Tensor) -> Tensor:
        """Final-normed hidden states behind one more token of each row, (B, D)."""
        column_M = torch.arange(self.cache.length + 1, device=token_B.device)
        _vary(column_M, 0)
        if len(token_B) > 1:
            _vary(token_B, 0)
        state_BD = self._step(token_B, column_M)
        self.cache.length += 1
        return (state_BD * self.text.last_gain).to(self.text.table.dtype)


class _Shape(NamedTuple):
    """What stays the same from step to step.

    Attributes:
        heads: H.
        groups: G.
        size: K.
        floor_squared: what the norm of a state adds to its squared length.
        head_floor_squared: likewise for queries and keys.
    """

    heads: int
    groups: int
    size: int
    floor_squared: float
    head_floor_squared: float


def _vary(tensor: Tensor, axis: int) -> None:
    """Has the compiler take any size of the axis."""
    torch._dynamo.mark_dynamic(tensor, axis)


@functools.cache
def _compiled(_kind: Hashable) -> Callable[..., Tensor]:
    """`_step`, a function of its own for each kind of network: one has few compiled forms."""
    own = types.FunctionType(_step.__code__.replace(), globals())
    return torch.compile(own, dynamic=False)


def _step(
    shape: _Shape,
    weights: LayerWeights,
    table: Tensor,
    rotations: Tensor,
    start_B: Tensor,
    buffers: list[tuple[Tensor, Tensor]],
    token_B: Tensor,
    column_M: Tensor,
) -> Tensor:
    """States of length 1, (B, D); the new keys and values are written into the buffers."""
    rows, (heads, groups, size, _, _) = len(token_B), shape
    multiply = _times_row if rows == 1 else _times_rows
    state_BD = F.embedding(token_B, table).float()
    last = column_M.shape[0] - 1
    # A row that has ended is read until it goes, maybe beyond the context, and not used.
    rotation = rotations[(last - start_B).clamp(max=rotations.shape[0] - 1), None]
    cosine, sine = rotation.unbind(-1)  # (B, 1, K / 2)
    is_padding = (column_M < start_B[:, None])[:, None, None]
    for index, (keys, values) in enumerate(buffers):
        layer = LayerWeights(*(w[index] for w in weights))
        x = multiply(_unit(state_BD, shape.floor_squared), layer.qkv).view(rows, -1, size)
        query_key, value = x.split_with_sizes([heads + groups, groups], 1)
        query_key = _unit(query_key, shape.head_floor_squared) * layer.gain
        even, odd = query_key.view(rows, heads + groups, size // 2, 2).unbind(-1)
        turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1)
        query, key = turned.flatten(-2).split_with_sizes([heads, groups], 1)
        keys.narrow(2, last, 1).copy_(key[:, :, None])
        values.narrow(2, last, 1).copy_(value[:, :, None])
        keys, values = (t[:, :, None, : last + 1].float() for t in (keys, values))
        query = query.view(rows, groups, -1, 1, size)
        # Sums of products, and no matrix products: they become part of the loops around them.
        logits = (query * keys).sum(-1).masked_fill(is_padding, _VERY_LITTLE)
        attended = (logits.softmax(-1)[..., None] * values).sum(-2)
        state_BD = state_BD + multiply(attended.reshape(rows, -1), layer.out)
        gate, up = multiply(_unit(state_BD, shape.floor_squared), layer.gate_up).chunk(2, dim=-1)
        state_BD = state_BD + multiply(F.silu(gate) * up, layer.down)
    return _unit(state_BD, shape.floor_squared)


def _times_row(x_1D: Tensor, weight_ED: Tensor) -> Tensor:
    """Product of one row with a weight, (1, E)."""
    return (weight_ED.float() * x_1D).sum(-1)[None]


def _times_rows(x_BD: Tensor, weight_DE: Tensor) -> Tensor:
    """Product of several rows with a weight, (B, E); in the precision of the weight."""
    return torch.mm(x_BD.to(weight_DE.dtype), weight_DE).float()


def _unit(x: Tensor, floor_squared: float) -> Tensor:
    """Vectors of length 1, see `fused`."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + floor_squared)


_made: WeakKeyDictionary[FusedText, CompiledText] = WeakKeyDictionary()
