"""Small networks whose every weight is random, so that no part of a forward pass can hide.

Fresh networks start as the identity: their zeros would let a wrong layer pass for a right one.
"""

import torch
from torch import nn

from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.image_tower import ImageTower
from tgp_multimodal.models.networks import DualEncoder, LanguageModel, Multimodal
from tgp_multimodal.models.text_transformer import TextTransformer


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Gives every weight a random value at which signals keep about their size; none stays zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "embed_tokens" in name:
            weight.copy_(0.3 * noise)
        elif weight.ndim == 2:
            weight.copy_(0.7 * noise * weight.shape[1] ** -0.5)
        else:
            weight.add_(0.3 * noise)
    return module.eval()


def text_transformer(vocabulary: int = 320, context: int = 64, seed: int = 0) -> TextTransformer:
    """Two layers, grouped key/value heads."""
    text = TextTransformer(vocabulary, 64, 2, 96, 4, 2, context=context)
    randomise(text, seed)
    return text


def diffusion_head(text_width: int = 64, size: int = 16, seed: int = 1) -> DiffusionHead:
    """Three blocks over 4 x 4 patches."""
    head = DiffusionHead(text_width, 48, 3, 3, 2.5, patch=4, size=size)
    randomise(head, seed)
    return head


def image_tower(text_width: int = 64, size: int = 16, seed: int = 2) -> ImageTower:
    """Two blocks over 4 x 4 patches."""
    tower = ImageTower(text_width, 48, 2, 3, patch=4, size=size)
    randomise(tower, seed)
    return tower


def multimodal(vocabulary: int = 320, context: int = 64, seed: int = 0) -> Multimodal:
    """Both of the above as one network."""
    network = Multimodal(text_transformer(vocabulary, context, seed), diffusion_head(seed=seed + 1))
    network.eval()
    return network


def with_tower(vocabulary: int = 320, context: int = 64, seed: int = 0) -> Multimodal:
    """All three parts as one network."""
    text = text_transformer(vocabulary, context, seed)
    network = Multimodal(text, diffusion_head(seed=seed + 1), image_tower(seed=seed + 2))
    network.eval()
    return network


def dual_encoder(vocabulary: int = 320, context: int = 64, seed: int = 0) -> DualEncoder:
    """Text and tower."""
    network = DualEncoder(text_transformer(vocabulary, context, seed), image_tower(seed=seed + 2))
    network.eval()
    return network


def language_model(vocabulary: int = 320, context: int = 64, seed: int = 0) -> LanguageModel:
    """The text part alone."""
    network = LanguageModel(text_transformer(vocabulary, context, seed))
    network.eval()
    return network
