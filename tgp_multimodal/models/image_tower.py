"""The image tower of a joint embedding space with texts: pictures in, one vector each out.

The tower is open_clip's vision transformer, under the names that open_clip's checkpoints use
(`visual.*`, `logit_scale`, `logit_bias`). Its output has the width of the text transformer: texts
have no projection, so that their vector is what any stock client computes from an export.

Shape letters: B pictures, C channels, Y rows, X columns, D width of the joint space, N and M
vectors.
"""

import importlib
import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from tgp_multimodal.models.layers import at_least_one

_LARGEST_SCALE = math.log(100.0)


class ImageTower(nn.Module):
    """A vision transformer, and the learned scale and bias that make logits of cosines.

    The mean over patches is the picture's vector. Scale and bias start at 10 and -10 (Zhai et al.
    2023, arXiv:2303.15343, section 3.2); a softmax is blind to the bias. The scale stays at most
    100 (Radford et al. 2021, arXiv:2103.00020, section 2.5).

    Args:
        text_width: width of the text states, and of the vector of a picture.
        width: size of a patch state.
        depth: number of blocks.
        heads: attention heads; divides `width`.
        feed_forward_ratio: feed-forward size as a multiple of `width`.
        patch: side of a square patch, pixels.
        size: side of the square pictures, pixels; fixed, since position embeddings are learned.

    Raises:
        ValueError: `heads` does not divide `width`, or `patch` does not divide `size`.
    """

    def __init__(
        self,
        text_width: int = 256,
        width: int = 192,
        depth: int = 6,
        heads: int = 3,
        feed_forward_ratio: float = 4.0,
        patch: int = 4,
        size: int = 32,
    ) -> None:
        super().__init__()
        at_least_one(
            "ImageTower", text_width=text_width, width=width, depth=depth, heads=heads, patch=patch,
            size=size,
        )  # fmt: skip
        if width % heads:
            raise ValueError(f"width must be a multiple of heads={heads}. Got {width} instead.")
        if size % patch:
            raise ValueError(f"size must be a multiple of patch. Got {size=}, {patch=} instead.")
        self.text_width, self.width, self.depth, self.heads = text_width, width, depth, heads
        self.feed_forward_ratio, self.patch, self.size = feed_forward_ratio, patch, size
        self.visual = vision_transformer()(
            size, patch, width, depth, heads, feed_forward_ratio,
            output_dim=text_width, pool_type="avg",
        )  # fmt: skip
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.logit_bias = nn.Parameter(torch.tensor(-10.0))

    @property
    def blocks(self) -> list[nn.Module]:
        """The residual blocks, first to last."""
        return list(self.visual.transformer.resblocks)

    def forward(self, pixels_BCYX: Tensor) -> Tensor:
        """Vectors of pictures, (B, D), not of unit length.

        Args:
            pixels_BCYX: from -1 to 1.

        Raises:
            ValueError: the pictures are of another size than the tower's.
        """
        if pixels_BCYX.shape[-2:] != (self.size, self.size):
            rows, columns = pixels_BCYX.shape[-2:]
            raise ValueError(
                f"pictures must be of tower.size={self.size}, rows and columns. "
                f"Got {rows} x {columns} instead."
            )
        return self.visual(pixels_BCYX)

    def scale(self) -> Tensor:
        """What cosines are multiplied by, 100 at most (Radford et al. 2021, section 2.5)."""
        largest = torch.full_like(self.logit_scale, _LARGEST_SCALE)
        # Straight-through where it is clamped, or else the scale could never fall again.
        held = torch.minimum(self.logit_scale, largest).detach() - self.logit_scale.detach()
        return (self.logit_scale + held).exp()

    def logits(self, picture_ND: Tensor, text_MD: Tensor) -> Tensor:
        """Logits of each picture with each text, (N, M); the vectors are of unit length.

        Always in float32: a scale of 100 would turn bfloat16's rounding of a cosine into 0.4.
        """
        scale = self.scale()
        with torch.autocast(picture_ND.device.type, enabled=False):
            return scale * picture_ND @ text_MD.T + self.logit_bias


@cache
def vision_transformer() -> Any:
    """open_clip's class.

    By name and not before a tower is built: the import takes seconds, and most verbs build none.
    """
    with torch.device("cpu"):  # a network may be built without memory; a library must not be
        return importlib.import_module("open_clip.transformer").VisionTransformer
