"""Floating-point operations of a forward pass, by formula; a product of matrices counts 2 m n k.

Only products are counted, as is usual for utilisation (Chowdhery et al. 2022, arXiv:2204.02311,
appendix B): norms, softmax and the like are not. A backward pass is twice the forward pass.
"""

from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.image_tower import ImageTower
from tgp_multimodal.models.text_transformer import TextTransformer


def text_flops(text: TextTransformer, rows: int, length: int, scored: int = 0) -> int:
    """Of the text transformer.

    Attention is counted over the whole row, masked positions included.

    Args:
        text: the network.
        rows: rows of the batch.
        length: tokens of a row, padding included.
        scored: positions whose logits are computed, over all rows.
    """
    attention = text.heads * text.head_size
    key_value = text.key_value_heads * text.head_size
    matrices = (2 * attention + 2 * key_value + 3 * text.feed_forward) * text.width
    per_token = text.depth * (2 * matrices + 4 * attention * length)
    return rows * length * per_token + 2 * scored * text.width * text.vocabulary


def head_flops(
    head: DiffusionHead,
    pictures: int,
    rows: int,
    columns: int,
    length: int,
    captions: int | None = None,
) -> int:
    """Of the diffusion head.

    Args:
        head: the network.
        pictures: pictures of the batch.
        rows: pixels from top to bottom.
        columns: pixels from left to right.
        length: tokens of a caption, padding included.
        captions: of the batch, where several pictures share one; left out: one for each.
    """
    width, patches = head.width, rows // head.patch * (columns // head.patch)
    channels = 3 * head.patch**2
    per_block = 2 * (4 * width**2 + 3 * width * head.units) + 4 * width * (length + patches)
    per_patch = head.depth * per_block + 2 * 2 * channels * width
    per_token = 2 * head.text_width * width + head.depth * 2 * 2 * width**2
    per_picture = 2 * (256 * width + width**2) + head.depth * 2 * 6 * width**2 + 2 * 2 * width**2
    captions = pictures if captions is None else captions
    return pictures * (patches * per_patch + per_picture) + captions * length * per_token


def tower_flops(tower: ImageTower, pictures: int) -> int:
    """Of the image tower.

    Args:
        tower: the network.
        pictures: pictures of the batch.
    """
    width, patches = tower.width, (tower.size // tower.patch) ** 2
    tokens = patches + 1  # open_clip's class token
    matrices = (4 + 2 * tower.feed_forward_ratio) * width**2
    per_block = int(2 * matrices) + 4 * width * tokens
    per_patch = 2 * 3 * tower.patch**2 * width
    return pictures * (
        tokens * tower.depth * per_block + patches * per_patch + 2 * width * tower.text_width
    )
