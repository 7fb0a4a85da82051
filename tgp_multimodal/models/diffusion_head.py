"""The text-to-image head: (noisy pixels, time, text states) in, clean pixels out.

Parameter names and arithmetic are those of `diffusers.PRXTransformer2DModel`, so that export is a
copy without renaming. Text enters only as keys and values that image patches attend to; time
modulates every block (adaLN-zero).

Shape letters: B batch, C channels, Y rows, X columns, P patches, L text length, D width, F hidden
size of the feed-forward part, H heads, K head size.
"""

import math
from collections import deque
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgp_multimodal.models.eager import PatchAttentionFunction
from tgp_multimodal.models.layers import (
    RMSNorm,
    at_least_one,
    attention,
    rotary_tables,
    rotate_neighbours,
    uses_manual_backward,
)
from tgp_multimodal.models.local_start import init_neighbour_attention

ROPE_THETA = 10000.0
TIME_CHANNELS = 256


class HeadAttention(nn.Module):
    """Attention of image patches over text and image; text has keys and values, no queries."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.img_qkv_proj = nn.Linear(width, 3 * width, bias=False)
        self.norm_q = RMSNorm(width // heads)
        self.norm_k = RMSNorm(width // heads)
        self.txt_kv_proj = nn.Linear(width, 2 * width, bias=False)
        self.norm_added_k = RMSNorm(width // heads)
        self.to_out = nn.ModuleList([nn.Linear(width, width, bias=False)])

    def text_keys_values(self, text_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the text, (B, H, L, K) each.

        They do not depend on time, so a sampler computes them once.
        """
        both = _heads(self.txt_kv_proj(text_BLD), 2, self.heads)
        key, value = both.transpose(1, 3).unbind(2)
        return self.norm_added_k(key), value

    def forward(
        self,
        patch_BPD: Tensor,
        text: tuple[Tensor, Tensor],
        rotary: tuple[Tensor, Tensor],
        allowed: Tensor | None,
    ) -> Tensor:
        all_three = _heads(self.img_qkv_proj(patch_BPD), 3, self.heads)
        if patch_BPD.device.type == "cpu" and uses_manual_backward(all_three):
            return self.to_out[0](self._attend_by_hand(all_three, text, rotary, allowed))
        query, key, value = all_three.transpose(1, 3).unbind(2)
        query = rotate_neighbours(self.norm_q(query), *rotary).to(value.dtype)
        key = rotate_neighbours(self.norm_k(key), *rotary).to(value.dtype)
        key = torch.cat((text[0].to(key.dtype), key), dim=2)
        value = torch.cat((text[1], value), dim=2)
        return self.to_out[0](attention(query, key, value, allowed).transpose(1, 2).flatten(2))

    def _attend_by_hand(
        self,
        all_three: Tensor,
        text: tuple[Tensor, Tensor],
        rotary: tuple[Tensor, Tensor],
        allowed: Tensor | None,
    ) -> Tensor:
        """What the heads return, by the function whose backward pass is written by hand."""
        scaled = self.norm_q.weight * all_three.shape[-1] ** -0.5
        gain = torch.cat((scaled.repeat(self.heads), self.norm_k.weight.repeat(self.heads)))
        turn = torch.complex(*rotary)[:, None, None]
        return PatchAttentionFunction.apply(all_three, *text, gain, self.norm_q.eps, turn, allowed)


def _heads(x: Tensor, parts: int, heads: int) -> Tensor:
    """(..., parts * H * K) -> (..., parts, H, K)."""
    return x.view(*x.shape[:-1], parts, heads, -1)


class Modulation(nn.Module):
    """Shift, scale and gate of both sub-layers of a block, from the time embedding.

    All start at zero (adaLN-zero, Peebles & Xie 2022, arXiv:2212.09748) but the shift before
    attention, which starts at one (`local_start`).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin = nn.Linear(width, 6 * width)

    def forward(self, time_BD: Tensor) -> tuple[Tensor, ...]:
        return self.lin(F.silu(time_BD))[:, None].chunk(6, dim=-1)


class HeadBlock(nn.Module):
    """One block: modulated attention, modulated gated feed-forward."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.width = width
        self.attention = HeadAttention(width, heads)
        self.gate_proj = nn.Linear(width, feed_forward, bias=False)
        self.up_proj = nn.Linear(width, feed_forward, bias=False)
        self.down_proj = nn.Linear(feed_forward, width, bias=False)
        self.modulation = Modulation(width)

    def keys_values(self, text_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the text for this block."""
        return self.attention.text_keys_values(text_BLD)

    def forward(
        self,
        patch_BPD: Tensor,
        text: tuple[Tensor, Tensor],
        time_BD: Tensor,
        rotary: tuple[Tensor, Tensor],
        allowed: Tensor | None,
    ) -> Tensor:
        return self.with_units(patch_BPD, text, time_BD, rotary, allowed)[0]

    def with_units(
        self,
        patch_BPD: Tensor,
        text: tuple[Tensor, Tensor],
        time_BD: Tensor,
        rotary: tuple[Tensor, Tensor],
        allowed: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The stream after the block, (B, P, D), and its feed-forward activations, (B, P, F)."""
        shift, scale, gate, shift_ff, scale_ff, gate_ff = self.modulation(time_BD)
        x = (1 + scale) * F.layer_norm(patch_BPD, (self.width,), eps=1e-6) + shift
        patch_BPD = patch_BPD + gate * self.attention(x, text, rotary, allowed)
        x = (1 + scale_ff) * F.layer_norm(patch_BPD, (self.width,), eps=1e-6) + shift_ff
        unit_BPF = F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x)
        return patch_BPD + gate_ff * self.down_proj(unit_BPF), unit_BPF


class TimeEmbedder(nn.Module):
    """Two-layer perceptron over the sinusoidal features of time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(TIME_CHANNELS, width)
        self.out_layer = nn.Linear(width, width)

    def forward(self, time_B: Tensor) -> Tensor:
        return self.out_layer(F.silu(self.in_layer(time_features(time_B))))


def time_features(time_B: Tensor) -> Tensor:
    """Cosines, then sines, of 1000 t at 128 geometric frequencies, (B, 256)."""
    half = TIME_CHANNELS // 2
    index = torch.arange(half, dtype=torch.float32, device=time_B.device)
    # This order of products: at angles near 1000 another one rounds 1e-4 away from the stock
    # class.
    angle = 1000.0 * (time_B.float()[:, None] * torch.exp(-math.log(10000.0) * index / half))
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


class FinalLayer(nn.Module):
    """Modulated normalisation and projection of each patch to its pixels."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, patch_BPD: Tensor, time_BD: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(time_BD)[:, None].chunk(2, dim=-1)
        x = (1 + scale) * F.layer_norm(patch_BPD, (self.width,), eps=1e-6) + shift
        return self.linear(x)


class DiffusionHead(nn.Module):
    """Transformer over image patches that predicts the clean image.

    Args:
        text_width: width of the text states it is conditioned on.
        width: size of a patch state, D.
        depth: number of blocks.
        heads: attention heads; `width / heads` must be a multiple of 4 (two rotary axes of even
            size).
        feed_forward_ratio: feed-forward size as a multiple of `width`.
        patch: side of a square patch, pixels.
        size: side of the square pictures it is trained on, pixels; other multiples of `patch` work
            too.
    """

    def __init__(
        self,
        text_width: int = 256,
        width: int = 192,
        depth: int = 6,
        heads: int = 3,
        feed_forward_ratio: float = 3.0,
        patch: int = 4,
        size: int = 32,
    ) -> None:
        super().__init__()
        at_least_one(
            "DiffusionHead", text_width=text_width, width=width, depth=depth, heads=heads,
            patch=patch, size=size,
        )  # fmt: skip
        if int(width * feed_forward_ratio) < 1:
            raise ValueError(
                f"feed_forward_ratio must give at least one unit. Got {feed_forward_ratio} instead."
            )
        if width % heads or (width // heads) % 4:
            raise ValueError(
                f"width / heads must be a multiple of 4. Got width={width}, heads={heads} instead."
            )
        if size % patch:
            raise ValueError(f"size must be a multiple of patch. Got {size=}, {patch=} instead.")
        self.text_width, self.width, self.depth, self.heads = text_width, width, depth, heads
        self.feed_forward_ratio, self.patch, self.size = feed_forward_ratio, patch, size
        self.head_size = width // heads
        channels = 3 * patch**2
        self.img_in = nn.Linear(channels, width)
        self.time_in = TimeEmbedder(width)
        self.txt_in = nn.Linear(text_width, width)
        self.units = int(width * feed_forward_ratio)  # of a block's feed-forward part, F
        self.blocks = nn.ModuleList(HeadBlock(width, heads, self.units) for _ in range(depth))
        self.final_layer = FinalLayer(width, channels)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws fresh weights: matrices of std 1/sqrt(fan-in); zero biases, modulation and output.

        But attention starts on neighbouring patches, by shifts of one; see `local_start`.
        """
        for name, weight in self.named_parameters():
            if name.endswith("bias") or "modulation" in name or name == "final_layer.linear.weight":
                nn.init.zeros_(weight)
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
            else:
                nn.init.ones_(weight)
        for number, block in enumerate(self._blocks):
            init_neighbour_attention(
                block.attention.img_qkv_proj.weight,
                block.modulation.lin.bias[: self.width],
                self.head_size,
                number * self.heads,
                ROPE_THETA,
            )

    def forward(
        self,
        pixels_BCYX: Tensor,
        time_B: Tensor,
        text_BLD: Tensor,
        mask_BL: Tensor | None = None,
    ) -> Tensor:
        """The clean pixels (B, C, Y, X) that the head predicts from noisy ones.

        Args:
            pixels_BCYX: (1 - t) * data + t * noise, in the scale where data lie in [-1, 1].
            time_B: t in [0, 1]; 0 is data, 1 is noise.
            text_BLD: final-normed hidden states of the caption.
            mask_BL: False at padding of the caption.
        """
        return self.denoise(pixels_BCYX, time_B, self.text_keys_values(text_BLD), mask_BL)

    @property
    def _blocks(self) -> list[HeadBlock]:
        return [block for block in self.blocks if isinstance(block, HeadBlock)]

    def text_keys_values(self, text_BLD: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the caption in every block."""
        text = self.txt_in(text_BLD)
        return [block.keys_values(text) for block in self._blocks]

    def denoise(
        self,
        pixels_BCYX: Tensor,
        time_B: Tensor,
        text: list[tuple[Tensor, Tensor]],
        mask_BL: Tensor | None = None,
    ) -> Tensor:
        """As `forward`, with the caption's keys and values at hand."""
        patch_BPD, time_BD = self.states(pixels_BCYX, time_B, text, mask_BL, self.depth)
        rows, columns = pixels_BCYX.shape[-2:]
        return self.to_pixels(self.final_layer(patch_BPD, time_BD), (rows, columns))

    def denoise_with_states(
        self,
        pixels_BCYX: Tensor,
        time_B: Tensor,
        text: list[tuple[Tensor, Tensor]],
        mask_BL: Tensor | None,
        block: int,
    ) -> tuple[Tensor, Tensor]:
        """As `denoise`, and the residual stream after `block` blocks on the way, (B, P, D)."""
        time_BD = self.time_in(time_B)
        states = [*self.hidden_states(pixels_BCYX, time_BD, text, mask_BL, self.depth)]
        rows, columns = pixels_BCYX.shape[-2:]
        patch_BPD = self.final_layer(states[self.depth], time_BD)
        return self.to_pixels(patch_BPD, (rows, columns)), states[block]

    def states(
        self,
        pixels_BCYX: Tensor,
        time_B: Tensor,
        text: list[tuple[Tensor, Tensor]],
        mask_BL: Tensor | None,
        depth: int,
    ) -> tuple[Tensor, Tensor]:
        """The residual stream after `depth` blocks, (B, P, D), and the time vector (B, D)."""
        time_BD = self.time_in(time_B)
        # The last one alone: drawing need not hold the states of every block.
        states = self.hidden_states(pixels_BCYX, time_BD, text, mask_BL, depth)
        return deque(states, maxlen=1)[0], time_BD

    def hidden_states(
        self,
        pixels_BCYX: Tensor,
        time_BD: Tensor,
        text: list[tuple[Tensor, Tensor]],
        mask_BL: Tensor | None,
        depth: int,
    ) -> Iterator[Tensor]:
        """The residual stream (B, P, D) before the first block and after each of `depth` blocks."""
        patch_BPD, rotary, allowed = self._embed_patches(pixels_BCYX, mask_BL)
        yield patch_BPD
        for block, keys_values in zip(self._blocks[:depth], text, strict=False):
            patch_BPD = block(patch_BPD, keys_values, time_BD, rotary, allowed)
            yield patch_BPD

    def hidden_states_and_units(
        self,
        pixels_BCYX: Tensor,
        time_BD: Tensor,
        text: list[tuple[Tensor, Tensor]],
        mask_BL: Tensor | None,
        depth: int,
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """As `hidden_states`, each with the feed-forward activations (B, P, F) of its block.

        These are None before the first block. For inspection alone: hooks and compiled forms of the
        blocks do not run.
        """
        patch_BPD, rotary, allowed = self._embed_patches(pixels_BCYX, mask_BL)
        yield patch_BPD, None
        for block, keys_values in zip(self._blocks[:depth], text, strict=False):
            both = block.with_units(patch_BPD, keys_values, time_BD, rotary, allowed)
            patch_BPD, _ = both
            yield both

    def _embed_patches(
        self, pixels_BCYX: Tensor, mask_BL: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor | None]:
        """The stream before the first block, rotary tables, and the attention mask."""
        patch_BPD = self.img_in(self.to_patches(pixels_BCYX))
        rows, columns = pixels_BCYX.shape[-2:]
        rotary = self.rotary((rows, columns), pixels_BCYX.device)
        if mask_BL is None:
            return patch_BPD, rotary, None
        image_BP = mask_BL.new_ones(patch_BPD.shape[:2], dtype=torch.bool)
        return patch_BPD, rotary, torch.cat((mask_BL.bool(), image_BP), dim=1)[:, None, None]

    def rotary(self, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines (P, K/2).

        Half of the channels turn with the row of a patch, half with its column.
        """
        rows, columns = size[0] // self.patch, size[1] // self.patch
        row = torch.arange(rows, device=device).repeat_interleave(columns)
        column = torch.arange(columns, device=device).repeat(rows)
        tables = [rotary_tables(axis, self.head_size // 2, ROPE_THETA) for axis in (row, column)]
        return torch.cat([t[0] for t in tables], -1), torch.cat([t[1] for t in tables], -1)

    def to_patches(self, pixels_BCYX: Tensor) -> Tensor:
        """(B, C, Y, X) -> (B, P, C * patch * patch), patches in reading order."""
        rows, columns = pixels_BCYX.shape[-2:]
        if rows % self.patch or columns % self.patch:
            raise ValueError(
                f"picture size must be a multiple of patch={self.patch}. "
                f"Got {rows} x {columns} instead."
            )
        return F.pixel_unshuffle(pixels_BCYX, self.patch).flatten(2).transpose(1, 2)

    def to_pixels(self, patch_BPD: Tensor, size: tuple[int, int]) -> Tensor:
        """The inverse of `to_patches`."""
        grid = (size[0] // self.patch, size[1] // self.patch)
        patch_BDYX = patch_BPD.transpose(1, 2).reshape(len(patch_BPD), -1, *grid)
        return F.pixel_shuffle(patch_BDYX, self.patch)
