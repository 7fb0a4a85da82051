"""A training step of the diffusion head, against diffusers' class with the same weights.

Shape letters: B batch, C channels, Y rows, X columns, L caption length, D width of the text.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers import PRXTransformer2DModel
from torch import Tensor, nn

from benchmarks.speed import exports, steps
from benchmarks.speed.harness import Contest, Side, require
from tgp_multimodal import stock_export
from tgp_multimodal.models.diffusion_head import DiffusionHead

CAPTION = 24  # tokens of the longest caption of a batch


class Batch(NamedTuple):
    """Noisy pictures, their times, their captions, and the clean pictures."""

    noisy_BCYX: Tensor
    time_B: Tensor
    text_BLD: Tensor
    mask_BL: Tensor
    clean_BCYX: Tensor


def contests(quick: bool) -> Iterator[Contest]:
    """Against eager float32 and eager bfloat16."""
    batch = _batch(2 if quick else 32)
    ours, theirs = _ours(batch), _theirs(batch)
    mine, stock = dict(ours[0]["head"].named_parameters()), dict(theirs[0].named_parameters())
    require("number of head weights", len(mine.keys() ^ stock.keys()), 0)
    pairs = [(weight, stock[name]) for name, weight in mine.items()]
    require("head gradients", steps.gradient_difference(ours[1], theirs[1], pairs), 1e-3)
    chosen = steps.chosen_precision(*ours)
    count = len(batch.time_B)
    facts = {
        "batch": count,
        "side": batch.clean_BCYX.shape[-1],
        "caption": CAPTION,
        "parameters": sum(p.numel() for p in mine.values()),
    }
    for precision in ("float32", "bfloat16"):
        yield Contest(
            f"head step {count} x 32 px, eager",
            Side("MuonAdamW", chosen, steps.Step(*_ours(batch), chosen, steps.our_optimizer)),
            Side(
                "diffusers.PRXTransformer2DModel, AdamW",
                precision,
                steps.Step(*_theirs(batch), precision, steps.stock_optimizer),
            ),
            steps.relative,
            steps.tolerance(chosen, precision),
            facts,
        )


def _batch(count: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn((2, count, 3, 32, 32), generator=generator)
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


def _ours(batch: Batch) -> tuple[nn.ModuleDict, Callable[[], Tensor]]:
    head = _random_head()

    def loss() -> Tensor:
        clean = head(batch.noisy_BCYX, batch.time_B, batch.text_BLD, batch.mask_BL)
        return F.mse_loss(clean.float(), batch.clean_BCYX)

    return nn.ModuleDict({"head": head}), loss


def _theirs(batch: Batch) -> tuple[PRXTransformer2DModel, Callable[[], Tensor]]:
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
