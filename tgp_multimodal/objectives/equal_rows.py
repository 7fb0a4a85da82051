"""Which texts of the global batch are equal, so that contrast takes none for a wrong one.

Shape letters: B rows of this process, P rows of all processes, L length in tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tgp_multimodal.objectives import ranks


def whole_ids(token_BL: Tensor, mask_BL: Tensor) -> Tensor:
    """Ids of all processes, -1 at padding, (P, L), float32.

    Args:
        token_BL: ids of this process; processes may pad to different lengths.
        mask_BL: False at padding.
    """
    token_BL = token_BL.masked_fill(~mask_BL.bool(), -1)
    missing = ranks.largest(token_BL.shape[1]) - token_BL.shape[1]
    token_PL = ranks.whole_batch(F.pad(token_BL, (0, missing), value=-1))
    return token_PL.float()  # exact: ids are far below 2^24


def equal_rows(one_PL: Tensor, other_PL: Tensor) -> Tensor:
    """Which row of the one equals which of the other, (P, P)."""
    # How many ids differ; `unique` has an output of unknown size, which synchronises a GPU.
    return torch.cdist(one_PL, other_PL, p=0) == 0
