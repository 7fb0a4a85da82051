"""Pictures in, features out: hidden states and MLP activations of the diffusion head.

Shape letters: B pictures of a batch, N pictures, C channels, Y rows, X columns, P patches, G rows
of cells, D width of what is read.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference import picture_inputs
from tgp_multimodal.inference.image import BATCH, read_prompts
from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.networks import Multimodal

TIMES = (0.05, 0.2)
FINE = 4  # rows of cells
_SHARES = (0.25, 0.4, 0.5, 0.6, 0.75, 1.0)  # of the depth


class View(NamedTuple):
    """Where in the head features are taken.

    Attributes:
        block: how many blocks are run.
        time: t that the head is told.
        grid: rows and columns of cells, G, over each of which patches are averaged; where they do
            not divide those of the patches, cells overlap.
        units: read the MLP activations of the last block that is run, which a linear probe
            classifies better than the residual stream after it, except for colours (LOG.md); if
            False, the residual stream.
    """

    block: int
    time: float
    grid: int = 2
    units: bool = True

    def __str__(self) -> str:
        fine = f", {self.grid} x {self.grid}" if self.grid != 2 else ""
        what = "units of " if self.units else ""
        return f"{what}block {self.block}, t {self.time:g}{fine}"


def usual(head: DiffusionHead) -> View:
    """The middle block at t = 0.05."""
    return View(max(1, head.depth // 2), 0.05)


def views(head: DiffusionHead) -> list[View]:
    """Views worth trying, the usual one first: activations and stream at some depths and two times.

    The fine grid is for activations at the larger time alone: each view takes memory.
    """
    first = usual(head)
    depths = sorted({first.block, *(max(1, round(share * head.depth)) for share in _SHARES)})
    every = [View(d, t, units=u) for u in (True, False) for d in depths for t in TIMES]
    if head.size // head.patch >= FINE:
        every += [View(d, TIMES[-1], FINE) for d in depths]
    return [first, *(v for v in every if v != first)]


def features(
    network: Multimodal,
    tokenizer: Tokenizer,
    pictures: Sequence[object],
    view: View | None = None,
    batch: int = 4 * BATCH,
) -> np.ndarray:
    """Features of pictures in one view, (N, (1 + G G) D); see `features_of_views`."""
    return features_of_views(network, tokenizer, pictures, [view or usual(network.head)], batch)[0]


@torch.inference_mode()
def features_of_views(
    network: Multimodal,
    tokenizer: Tokenizer,
    pictures: Sequence[object],
    wanted: Sequence[View],
    batch: int = 4 * BATCH,
) -> list[np.ndarray]:
    """Features of each view: null prompt, clean pixels, small t.

    The mean over all patches, then the mean over each cell of a grid, (N, (1 + G G) D): the
    protocol of DDAE (Xiang et al. 2023, arXiv:2303.09769) with spatial pooling, coarse for objects
    that move about and fine for strokes. Views of one time share one forward pass.

    Args:
        network: text transformer and head.
        tokenizer: its tokenizer.
        pictures: unsigned bytes, (Y, X, C) or grey (Y, X); the largest centred square is brought to
            the size of the head, as pictures to learn from are.
        wanted: the views.
        batch: pictures computed at once.

    Raises:
        ValueError: a view's block is not there, or a picture is none.
    """
    head = network.head
    for view in wanted:
        if not view.units <= view.block <= head.depth:
            allowed = f"between {int(view.units)} and {head.depth}"
            raise ValueError(f"block must be {allowed}. Got {view.block} instead.")
    # Of each time and block the numbers of the views that are read there.
    places: dict[float, dict[int, list[int]]] = {}
    for number, view in enumerate(wanted):
        places.setdefault(view.time, {}).setdefault(view.block, []).append(number)
    text, mask_1L = read_prompts(network, tokenizer, [""])
    sizes = [(len(pictures), feature_count(head, view)) for view in wanted]
    found = [np.empty(size, dtype=np.float32) for size in sizes]
    for start in range(0, len(pictures), batch):
        pixels = torch.stack(
            [picture_inputs.pixels(p, head.size) for p in pictures[start : start + batch]]
        )
        pixels, count = pixels.to(mask_1L.device), len(pixels)
        own = [(k.expand(count, -1, -1, -1), v.expand(count, -1, -1, -1)) for k, v in text]
        for time, at in places.items():
            time_BD = head.time_in(torch.full((count,), time, device=pixels.device))
            walk = head.hidden_states_and_units(
                pixels, time_BD, own, mask_1L.expand(count, -1), max(at)
            )
            for block, read in enumerate(walk):
                for number in at.get(block, ()):
                    own_BD = pooled(read, head, wanted[number]).cpu().numpy()
                    found[number][start : start + count] = own_BD
    return found


def pooled(read: tuple[Tensor, Tensor | None], head: DiffusionHead, view: View) -> Tensor:
    """Means over all patches and over each cell of a grid of them, (B, (1 + G G) D).

    Args:
        read: a block's stream and units, as `DiffusionHead.hidden_states_and_units` gives them.
        head: the head.
        view: which of the two, and the grid.
    """
    stream_BPD, unit_BPD = read
    patch_BPD = unit_BPD if view.units else stream_BPD
    assert patch_BPD is not None, "units are read behind a block"
    rows = head.size // head.patch
    patch_BDYX = patch_BPD.transpose(1, 2).reshape(len(patch_BPD), -1, rows, rows).float()
    cells = F.adaptive_avg_pool2d(patch_BDYX, min(view.grid, rows)).flatten(1)
    return torch.cat((patch_BDYX.mean((2, 3)), cells), dim=1)


def feature_count(head: DiffusionHead, view: View) -> int:
    """How many numbers `pooled` gives for a picture, (1 + G G) D."""
    width = head.units if view.units else head.width
    return (1 + min(view.grid, head.size // head.patch) ** 2) * width
