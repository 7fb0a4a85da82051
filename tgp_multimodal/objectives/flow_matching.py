"""Flow matching for captioned pictures: the head predicts pictures, the loss compares velocities.

Predicting the picture is what lets a small network use large patches (Li & He 2025,
arXiv:2511.13720). The error of the velocity is that of the picture over t, so a loss on velocities
weighs time t by 1/t^2, which early in training puts nearly all weight on the last, easy details.
Hence the floor of t in the weight.

Shape letters: B batch, C channels, Y rows, X columns, L caption length, D width.
"""

from typing import cast

import torch
from torch import Tensor

from tgp_multimodal.data.records import CaptionedImages
from tgp_multimodal.diffusion.paths import noisy
from tgp_multimodal.models.flops import head_flops, text_flops
from tgp_multimodal.models.networks import Multimodal, Network
from tgp_multimodal.objectives import ranks
from tgp_multimodal.objectives.base import Loss, Objective, unit_pixels

HELD_OUT_TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)


class FlowMatching(Objective):
    """Text-to-image flow matching with caption dropping.

    Args:
        caption_drop: share of pictures shown with the null prompt (one BOS), for classifier-free
            guidance (Ho & Salimans 2022, arXiv:2207.12598).
        uniform_times: share of times drawn uniformly; the rest is logit-normal (Esser et al. 2024,
            arXiv:2403.03206, section 3.1).
        time_mean: mean of the logit of those times; above 0 for more noise than data, which is
            where shapes are decided.
        weight_floor: the squared error of the picture is divided by max(t, weight_floor)^2. 0.05,
            the stock pipeline's own limit, gives the loss on the sampler's velocities; 1 that on
            pictures.
        repeats: noise and time draws per picture and step, which share one pass over the caption.
        train_text: whether the gradient reaches the text transformer.
        guidance: above 1, the head learns to draw by itself what guidance of this scale draws, so
            that sampling takes one pass per step and the stock pipeline, which cannot guide several
            prompts at once, need not (model-guidance; Tang et al. 2025, arXiv:2502.12154, eq. 7).
            For the end of a run, or a short run from its export; not from fresh weights.
    """

    needs = "head"

    def __init__(
        self,
        caption_drop: float = 0.1,
        uniform_times: float = 0.1,
        time_mean: float = 0.6,
        weight_floor: float = 0.3,
        repeats: int = 1,
        train_text: bool = True,
        guidance: float = 1.0,
    ) -> None:
        if not 0 <= caption_drop < 1:
            raise ValueError(
                f"caption_drop must be at least 0 and below 1. Got {caption_drop} instead."
            )
        if not 0 <= uniform_times <= 1:
            raise ValueError(
                f"uniform_times must be a share between 0 and 1. Got {uniform_times} instead."
            )
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1. Got {repeats} instead.")
        if not 0 < weight_floor <= 1:
            raise ValueError(
                f"weight_floor must be above 0 and at most 1. Got {weight_floor} instead."
            )
        self.caption_drop, self.uniform_times = caption_drop, uniform_times
        self.time_mean, self.weight_floor = time_mean, weight_floor
        if guidance < 1:
            raise ValueError(f"guidance must be at least 1. Got {guidance} instead.")
        self.repeats, self.train_text, self.guidance = repeats, train_text, guidance
        self.teaches_guidance = guidance > 1

    def loss(self, network: Network, batch: CaptionedImages, progress: float, seed: int) -> Loss:
        """Mean squared error of the velocity, up to the floor; see `Objective.loss`."""
        network = cast(Multimodal, network)
        data = unit_pixels(batch.pixels_BCYX)
        # On the pictures' device: copying this much noise to it takes longer than drawing it there.
        generator = torch.Generator(data.device).manual_seed(seed)
        mask_BL = self.drop_captions(batch.mask_BL, generator)
        with torch.set_grad_enabled(self.train_text and torch.is_grad_enabled()):
            text_BLD = network.text(batch.token_BL, mask_BL=mask_BL)
        text = network.head.text_keys_values(text_BLD)
        if self.repeats > 1:
            data = data.repeat(self.repeats, 1, 1, 1)
            text = [
                (k.repeat(self.repeats, 1, 1, 1), v.repeat(self.repeats, 1, 1, 1)) for k, v in text
            ]
            mask_BL = mask_BL.repeat(self.repeats, 1)
        # Drawn for the pictures of all processes, as one process would; each takes its own.
        count = len(data) * ranks.world()
        time_B = ranks.own_rows(self.times(count, generator))
        noise = torch.randn(count, *data.shape[1:], generator=generator, device=data.device)
        noisy_BCYX = noisy(data, ranks.own_rows(noise), time_B)
        predicted = network.head.denoise(noisy_BCYX, time_B, text, mask_BL).float()
        target = data
        if self.guidance > 1:
            target = data + self._guidance_shift(
                network, noisy_BCYX, time_B, text, mask_BL, predicted
            )
        error_B = (predicted - target).square().mean(dim=(1, 2, 3))
        value = (error_B / time_B.clamp_min(self.weight_floor).square()).mean()
        parts = {"value": value, "pixel_error": error_B.mean()}
        return Loss(value, {k: v.detach() for k, v in parts.items()})

    def _guidance_shift(
        self,
        network: Multimodal,
        noisy_BCYX: Tensor,
        time_B: Tensor,
        text: list[tuple[Tensor, Tensor]],
        mask_BL: Tensor,
        predicted: Tensor,
    ) -> Tensor:
        """What is added to the target so that the fixed point is the guided prediction.

        With c the prediction for the caption, u that for the null prompt, m the mean picture and w
        the scale, training c towards m + (1 - 1/w) (c - u) has the fixed point c = u + w (m - u).
        Where the caption was dropped, c is u up to rounding, and nothing is added.
        """
        with torch.no_grad():
            unconditional = network.head.denoise(
                noisy_BCYX, time_B, text, _only_bos(mask_BL)
            ).float()
            return (1 - 1 / self.guidance) * (predicted - unconditional)

    def held_out(self, network: Network, batch: CaptionedImages, seed: int) -> dict[str, Tensor]:
        """Parts of the loss, and the picture's squared error at fixed times, on fixed noise.

        `pixel_error_at_0.1` and so on, with every caption shown; `fixed_pixel_error` is their mean,
        comparable between runs and devices whatever times those were trained on. `caption_saves` is
        the share of the error without the caption that the caption removes.
        """
        network = cast(Multimodal, network)
        parts = dict(self.loss(network, batch, 1.0, seed).parts)
        data = unit_pixels(batch.pixels_BCYX)
        generator = torch.Generator(device="cpu").manual_seed(seed)
        text = network.head.text_keys_values(network.text(batch.token_BL, mask_BL=batch.mask_BL))
        whole_BL, only_bos_BL = batch.mask_BL.bool(), _only_bos(batch.mask_BL)
        count = len(data) * ranks.world()
        with_caption: list[Tensor] = []
        without_caption: list[Tensor] = []
        for time in HELD_OUT_TIMES:
            noise = torch.randn(count, *data.shape[1:], generator=generator)
            time_1 = torch.full((1,), time, device=data.device)
            noisy_BCYX = noisy(data, ranks.own_rows(noise).to(data.device), time_1)
            for errors, mask_BL in ((with_caption, whole_BL), (without_caption, only_bos_BL)):
                predicted = network.head.denoise(noisy_BCYX, time_1, text, mask_BL).float()
                errors.append((predicted - data).square().mean())
            parts[f"pixel_error_at_{time:g}"] = with_caption[-1]
        parts["fixed_pixel_error"] = torch.stack(with_caption).mean()
        left = torch.stack(with_caption).sum() / torch.stack(without_caption).sum()
        parts["caption_saves"] = 1 - left
        return parts

    def flops(self, network: Network, batch: CaptionedImages) -> int:
        """See `Objective.flops`."""
        network = cast(Multimodal, network)
        count, length = batch.token_BL.shape
        rows, columns = batch.pixels_BCYX.shape[-2:]
        text = (3 if self.train_text else 1) * text_flops(network.text, count, length)
        passes = 3 + (self.guidance > 1)
        pictures = self.repeats * count
        return text + passes * head_flops(network.head, pictures, rows, columns, length, count)

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """Times in (0, 1), shape (count,), on the generator's device."""
        device = generator.device
        normal = torch.randn(count, generator=generator, device=device)
        even, choice = (torch.rand(count, generator=generator, device=device) for _ in range(2))
        return torch.where(choice < self.uniform_times, even, (normal + self.time_mean).sigmoid())

    def drop_captions(self, mask_BL: Tensor, generator: torch.Generator) -> Tensor:
        """The mask of captions with a share of them reduced to their BOS."""
        count, device = len(mask_BL) * ranks.world(), mask_BL.device
        draw_B = torch.rand(count, generator=generator, device=generator.device).to(device)
        drop_B = ranks.own_rows(draw_B) < self.caption_drop
        mask_BL = mask_BL.bool() & ~drop_B[:, None]
        mask_BL[:, 0] = True
        return mask_BL


def _only_bos(mask_BL: Tensor) -> Tensor:
    """The mask of captions of which the head sees BOS alone: the null prompt."""
    only_BL = torch.zeros_like(mask_BL, dtype=torch.bool)
    only_BL[:, 0] = True
    return only_BL
