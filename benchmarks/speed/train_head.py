"""A training step of the diffusion head, against diffusers' class with the same weights.

Shape letters: B batch, C channels, Y rows, X columns, L caption length, D width of the text.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from diffusers import PRXTransformer2DModel, UNet2DConditionModel
from torch import Tensor, nn

from benchmarks.speed import exports, steps
from benchmarks.speed.harness import Contest, Side, require
from tgp_multimodal import stock_export
from tgp_multimodal.models.diffusion_head import DiffusionHead

CAPTION = 24  # tokens of the longest caption of a batch
_STOCK, _UNET = "diffusers.PRXTransformer2DModel", "diffusers.UNet2DConditionModel"
_Side: TypeAlias = tuple[nn.Module, Callable[[], Tensor]]


class Batch(NamedTuple):
    """Noisy pictures, their times, their captions, and the clean pictures."""

    noisy_BCYX: Tensor
    time_B: Tensor
    text_BLD: Tensor
    mask_BL: Tensor
    clean_BCYX: Tensor


def contests(quick: bool) -> Iterator[Contest]:
    """At 32 and 64 pixels, against the stock class and against a U-Net of as many weights."""
    for side, count in ((32, 32), (64, 16)):
        yield from _contests(_batch(2 if quick else count, side))


def _contests(batch: Batch) -> Iterator[Contest]:
    ours, theirs = _ours(batch), _theirs(batch)
    mine, stock = dict(ours[0]["head"].named_parameters()), dict(theirs[0].named_parameters())
    require("number of head weights", len(mine.keys() ^ stock.keys()), 0)
    pairs = [(weight, stock[name]) for name, weight in mine.items()]
    require("head gradients", steps.gradient_difference(ours[1], theirs[1], pairs), 1e-3)
    chosen = steps.chosen_precision(*ours)
    count, side = len(batch.time_B), batch.clean_BCYX.shape[-1]
    size = sum(p.numel() for p in mine.values())
    unet = _unet(batch)
    unet_size = sum(p.numel() for p in unet[0].parameters())
    require("weights of the U-Net, as a share", abs(unet_size / size - 1), 0.1)
    facts = {"batch": count, "side": side, "caption": CAPTION, "parameters": size}

    def contest(name: str, peer: _Side, precision: str) -> Contest:
        same = name == _STOCK
        return Contest(
            f"head step {count} x {side} px, eager",
            Side("MuonAdamW", chosen, steps.Step(*_ours(batch), chosen, steps.our_optimizer)),
            Side(f"{name}, AdamW", precision, steps.Step(*peer, precision, steps.stock_optimizer)),
            steps.relative if same else _not_finite,
            steps.tolerance(chosen, precision) if same else 0.0,
            facts if same else {**facts, "parameters of the peer": unet_size},
        )

    for precision in ("float32", "bfloat16"):
        yield contest(_STOCK, _theirs(batch), precision)
        yield contest(_UNET, _unet(batch), precision)


def _not_finite(ours: float, theirs: float) -> float:
    """Different networks have different losses: counts only how many of the two are not finite."""
    return float(sum(not math.isfinite(loss) for loss in (ours, theirs)))


def _batch(count: int, side: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn((2, count, 3, side, side), generator=generator)
    time_B = torch.rand(count, generator=generator)
    time = time_B[:, None, None, None]
    text_BLD = torch.randn((count, CAPTION, 256), generator=generator)
    length_B1 = torch.randint(CAPTION // 2, CAPTION + 1, (count, 1), generator=generator)
    mask_BL = torch.arange(CAPTION) < length_B1
    return Batch((1 - time) * clean + time * noise, time_B, text_BLD, mask_BL, clean)


def _random_head() -> DiffusionHead:
    head = exports.reference_head()
    exports.randomise(head)
    return head


def _ours(batch: Batch) -> _Side:
    head = _random_head()

    def loss() -> Tensor:
        clean = head(batch.noisy_BCYX, batch.time_B, batch.text_BLD, batch.mask_BL)
        return F.mse_loss(clean.float(), batch.clean_BCYX)

    return nn.ModuleDict({"head": head}), loss


def _theirs(batch: Batch) -> _Side:
    head = _random_head()
    model = PRXTransformer2DModel.from_config(stock_export.prx(head))
    model.load_state_dict(head.state_dict())
    model.train()

    def loss() -> Tensor:
        clean = model(
            batch.noisy_BCYX, batch.time_B, batch.text_BLD, batch.mask_BL, return_dict=False
        )[0]
        return F.mse_loss(clean.float(), batch.clean_BCYX)

    return model, loss


def _unet(batch: Batch) -> _Side:
    """Convolutions with attention to the caption in the two lower halves, as Stable Diffusion."""
    model = UNet2DConditionModel(
        sample_size=batch.clean_BCYX.shape[-1],
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 80, 128),
        layers_per_block=1,
        cross_attention_dim=256,
        attention_head_dim=16,
        norm_num_groups=16,
    )
    model.train()

    def loss() -> Tensor:
        clean = model(
            batch.noisy_BCYX,
            1000 * batch.time_B,
            batch.text_BLD,
            encoder_attention_mask=batch.mask_BL,
            return_dict=False,
        )[0]
        return F.mse_loss(clean.float(), batch.clean_BCYX)

    return model, loss
