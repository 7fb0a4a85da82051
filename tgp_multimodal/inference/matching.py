"""Texts and pictures as vectors of one space, in which cosines compare them.

Shape letters: N texts or pictures, C channels, Y rows, X columns, D width of the space.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference import picture_inputs, text
from tgp_multimodal.inference.image import BATCH
from tgp_multimodal.models.image_tower import ImageTower
from tgp_multimodal.models.text_transformer import TextTransformer


def text_vectors(
    transformer: TextTransformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    batch_tokens: int = text.BATCH_TOKENS,
) -> np.ndarray:
    """Unit-length text embeddings, (N, D): `text.embed`, L2-normalised.

    Args:
        transformer: the text's side.
        tokenizer: its tokenizer.
        texts: what to read.
        batch_tokens: positions of one forward pass.
    """
    return _unit(text.embed(transformer, tokenizer, texts, batch_tokens=batch_tokens))


@torch.inference_mode()
def picture_vectors(
    tower: ImageTower, pictures: Sequence[object], batch: int = 4 * BATCH
) -> np.ndarray:
    """Vectors of unit length, (N, D).

    Args:
        tower: the picture's side.
        pictures: unsigned bytes, (Y, X, C); the largest centred square is brought to the tower's
            size, as pictures to learn from are.
        batch: pictures computed at once.

    Raises:
        ValueError: a picture has another shape, or no bytes.
    """
    if not len(pictures):
        return np.zeros((0, tower.text_width), dtype=np.float32)
    device = tower.logit_scale.device
    parts = []
    for start in range(0, len(pictures), batch):
        own = pictures[start : start + batch]
        pixels_BCYX = torch.stack([picture_inputs.pixels(picture, tower.size) for picture in own])
        parts.append(tower(pixels_BCYX.to(device)).float().cpu().numpy())
    return _unit(np.concatenate(parts))


def _unit(vector_ND: np.ndarray) -> np.ndarray:
    return vector_ND / np.maximum(np.linalg.norm(vector_ND, axis=1, keepdims=True), 1e-12)
