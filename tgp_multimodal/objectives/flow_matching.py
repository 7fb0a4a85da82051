"""Flow matching for captioned pictures: the head predicts pictures, the loss compares velocities.

Predicting the picture is what lets a small network use large patches (Li & He 2025,
arXiv:2511.13720); comparing velocities weighs the times as the sampler uses them. The division by
max(t, 0.05) is the stock pipeline's.

Shape letters: B batch, C channels, Y rows, X columns, L caption length, D width.
"""

from typing import cast

import torch
from torch import Tensor

from tgp_multimodal.data.records import CaptionedImages
from tgp_multimodal.diffusion.paths import noisy, velocity
from tgp_multimodal.models.networks import Multimodal, Network
from tgp_multimodal.objectives.base import Loss, Objective

_BOS = 0


class FlowMatching(Objective):
    """Text-to-image flow matching with caption dropping.

    Args:
        caption_drop: share of pictures shown with the null prompt (one BOS), for classifier-free
            guidance (Ho & Salimans 2022, arXiv:2207.12598).
        uniform_times: share of times drawn uniformly; the rest is logit-normal(0, 1) (Esser et al.
            2024, arXiv:2403.03206, section 3.1).
        repeats: noise and time draws per picture and step, which share one pass over the caption.
        train_text: whether the gradient reaches the text transformer.
    """

    def __init__(
        self,
        caption_drop: float = 0.1,
        uniform_times: float = 0.1,
        repeats: int = 1,
        train_text: bool = True,
    ) -> None:
        if not 0 <= caption_drop < 1:
            raise ValueError(
                f"caption_drop must be at least 0 and below 1. Got {caption_drop} instead."
            )
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1. Got {repeats} instead.")
        self.caption_drop, self.uniform_times = caption_drop, uniform_times
        self.repeats, self.train_text = repeats, train_text

    def loss(self, network: Network, batch: CaptionedImages, progress: float, seed: int) -> Loss:
        """Mean squared error of the velocity; see `Objective.loss`."""
        network = cast(Multimodal, network)
        generator = torch.Generator(device="cpu").manual_seed(seed)
        data = batch.pixels_BCYX.float() / 127.5 - 1
        token_BL, mask_BL = self.dropped(batch.token_BL, batch.mask_BL, generator)
        with torch.set_grad_enabled(self.train_text and torch.is_grad_enabled()):
            text_BLD = network.text(token_BL, mask_BL=mask_BL)
        text = network.head.text_keys_values(text_BLD)
        if self.repeats > 1:
            data = data.repeat(self.repeats, 1, 1, 1)
            text = [
                (k.repeat(self.repeats, 1, 1, 1), v.repeat(self.repeats, 1, 1, 1)) for k, v in text
            ]
            mask_BL = mask_BL.repeat(self.repeats, 1)
        time_B = self.times(len(data), generator).to(data.device)
        noise = torch.randn(data.shape, generator=generator).to(data.device)
        noisy_BCYX = noisy(data, noise, time_B)
        guess = network.head.denoise(noisy_BCYX, time_B, text, mask_BL).float()
        error_B = (
            velocity(noisy_BCYX, guess, time_B) - velocity(noisy_BCYX, data, time_B)
        ).square()
        value = error_B.mean()
        parts = {"velocity_error": value, "pixel_error": (guess - data).square().mean()}
        return Loss(value, {k: v.detach() for k, v in parts.items()})

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """Times in (0, 1), shape (count,)."""
        peaked = torch.randn(count, generator=generator).sigmoid()
        even = torch.rand(count, generator=generator)
        return torch.where(
            torch.rand(count, generator=generator) < self.uniform_times, even, peaked
        )

    def dropped(
        self, token_BL: Tensor, mask_BL: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Captions with a share of them reduced to their BOS."""
        drop_B = torch.rand(len(token_BL), generator=generator) < self.caption_drop
        mask_BL = mask_BL.bool() & ~(drop_B.to(mask_BL.device)[:, None])
        mask_BL[:, 0] = True
        return token_BL, mask_BL
