"""The attention mask in blocks, for the attention kernel that a compiler generates from it.

The kernel (FlexAttention; Dong et al. 2024, arXiv:2412.05496) reads no mask and skips the blocks in
which no query may look at any key: half of them in causal rows, more in rows of several documents.

Shape letters: B batch, L length.
"""

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask


def visible_blocks(position_BL: Tensor, is_causal: bool | Tensor) -> BlockMask:
    """As `text_transformer.visible` without padding, in blocks of 128 queries and 128 keys.

    Args:
        position_BL: positions; each 0 starts a document.
        is_causal: True, False, or one truth value per row, shape (B,).
    """
    rows, length = position_BL.shape
    document_BL = (position_BL == 0).cumsum(dim=1)
    if not isinstance(is_causal, Tensor):
        is_causal = torch.full((rows,), is_causal, device=position_BL.device)
    sees_ahead_B = ~is_causal

    def is_visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        together = document_BL[row, query] == document_BL[row, key]
        return together & ((query >= key) | sees_ahead_B[row])

    return create_block_mask(is_visible, rows, None, length, length, device=position_BL.device)
