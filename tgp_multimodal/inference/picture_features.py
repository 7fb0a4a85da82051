"""Pictures in, features out: states of the diffusion head.

Shape letters: B pictures of a batch, N pictures, C channels, Y rows, X columns, P patches, D width.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.image import BATCH, read_prompts
from tgp_multimodal.models.networks import Multimodal

FEATURE_TIME = 0.05


@torch.inference_mode()
def features(
    network: Multimodal,
    tokenizer: Tokenizer,
    pictures: Sequence[np.ndarray],
    block: int | None = None,
    time: float = FEATURE_TIME,
    batch: int = 4 * BATCH,
) -> np.ndarray:
    """Features of pictures: the stream after a middle block, null prompt, clean pixels, small t.

    Means over the four quarters of the patch grid stand behind the mean over all patches, (N, 5 D)
    (the protocol of DDAE, Xiang et al. 2023, arXiv:2303.09769, with coarse places kept).

    Args:
        network: text transformer and head.
        tokenizer: its tokenizer.
        pictures: unsigned bytes, (Y, X, C) or grey (Y, X); resized to the size of the head.
        block: how many blocks to run; left out: two thirds of them.
        time: t that the head is told.
        batch: pictures computed at once.
    """
    head = network.head
    depth = -(-head.depth * 2 // 3) if block is None else block
    if not 0 <= depth <= head.depth:
        raise ValueError(f"block must be between 0 and {head.depth}. Got {depth} instead.")
    text, mask_1L = read_prompts(network, tokenizer, [""])
    device = mask_1L.device
    grid = head.size // head.patch
    parts = []
    for start in range(0, len(pictures), batch):
        pixels = torch.stack([_to_pixels(p, head.size) for p in pictures[start : start + batch]])
        count = len(pixels)
        own = [(k.expand(count, -1, -1, -1), v.expand(count, -1, -1, -1)) for k, v in text]
        time_B = torch.full((count,), time, device=device)
        patch_BPD, _ = head.states(pixels.to(device), time_B, own, mask_1L.expand(count, -1), depth)
        patch_BDYX = patch_BPD.transpose(1, 2).reshape(count, -1, grid, grid).float()
        quarters = F.adaptive_avg_pool2d(patch_BDYX, min(2, grid)).flatten(1)
        parts.append(torch.cat((patch_BDYX.mean((2, 3)), quarters), dim=1).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 5 * head.width), dtype=np.float32)


def _to_pixels(picture: np.ndarray, side: int) -> Tensor:
    array = np.asarray(picture)
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (1,), (3,))
    ):
        raise ValueError(
            "a picture must be unsigned bytes (Y, X), (Y, X, 1) or (Y, X, 3). "
            f"Got {array.dtype} of shape {array.shape} instead."
        )
    if array.ndim == 2:
        array = array[:, :, None]
    pixels = torch.from_numpy(np.broadcast_to(array, (*array.shape[:2], 3)).copy())
    pixels = pixels.permute(2, 0, 1).float() / 127.5 - 1
    if pixels.shape[1:] == (side, side):
        return pixels
    resized = F.interpolate(pixels[None], (side, side), mode="bilinear", antialias=True)
    return resized[0]
