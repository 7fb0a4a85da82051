"""Features of pictures, learned contrastively from two views of each, without captions.

Denoising teaches the head what pictures are made of; what is in them it needs only at high noise,
while features are read at low noise. This objective asks for it there: two crops of a picture, one
with changed colours, are denoised with the null prompt, and the states of a middle block must match
the two (contrastive learning, Chen et al. 2020, arXiv:2002.05709; on states of a diffusion model,
Xiang et al. 2025, DDAE++, arXiv:2505.10999). The blocks after it act as the projection head, so
nothing is added to the network.

Shape letters: B views of this process (two per picture), N pictures of this process, M pictures of
all processes, C channels, Y rows, X columns, P patches, D width.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from tgp_multimodal.data.records import CaptionedImages
from tgp_multimodal.diffusion.paths import noisy
from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.flops import head_flops
from tgp_multimodal.models.networks import Multimodal, Network
from tgp_multimodal.objectives import ranks
from tgp_multimodal.objectives.base import Loss, Objective, unit_pixels
from tgp_multimodal.objectives.passage_contrast import info_nce

_FIRST_VIEW_AREA = 0.6  # smallest share of the area that the first view keeps
_STRETCH = 0.2  # largest |log| of the factor that widens a crop and divides its height
_GREY = 0.2  # share of the second views that lose all colours
_DRAWS = 9  # numbers that decide a view


class PictureContrast(Objective):
    """Contrastive loss on the head's states for two views of each picture, and denoising of both.

    It learns from captioned pictures but reads no caption. Beside `FlowMatching`, which learns to
    draw, on the same stream (`Together`) it gives features for classifiers. The null prompt, which
    guidance extrapolates away from, is trained on crops and changed colours here, but only at low
    noise.

    Args:
        weight: of the contrast; the denoising of the views, weighted as in `FlowMatching`, has 1.
        block: how many blocks are run before states are compared; left out: two thirds of them.
        temperature: the cosines are divided by it.
        smallest: smallest share of a picture's area that a crop of the second view shows.
        colours: jitter of the second view: brightness and contrast change by up to this, saturation
            by up to twice as much; 0 leaves its colours.
        mirrors: share of views that are mirrored, left to right; 0 for letters, flags and maps.
        most_noise: times are drawn evenly between 0 and it.
        weight_floor: as of `FlowMatching`.

    Raises:
        ValueError: a number is out of its range.
    """

    needs = "head"

    def __init__(
        self,
        weight: float = 0.3,
        block: int | None = None,
        temperature: float = 0.2,
        smallest: float = 0.3,
        colours: float = 0.3,
        mirrors: float = 0.5,
        most_noise: float = 0.3,
        weight_floor: float = 0.3,
    ) -> None:
        for name, value, most in (
            ("temperature", temperature, float("inf")),
            ("smallest", smallest, 1.0),
            ("most_noise", most_noise, 1.0),
            ("weight_floor", weight_floor, 1.0),
        ):
            if not 0 < value <= most:
                limit = f" and at most {most:g}" if most == 1 else ""
                raise ValueError(f"{name} must be above 0{limit}. Got {value} instead.")
        for name, value, most in (
            ("weight", weight, float("inf")), ("colours", colours, 0.5), ("mirrors", mirrors, 1.0),
        ):  # fmt: skip
            if not 0 <= value <= most:
                raise ValueError(f"{name} must be between 0 and {most:g}. Got {value} instead.")
        self.weight, self.block, self.temperature = weight, block, temperature
        self.smallest, self.colours, self.mirrors = smallest, colours, mirrors
        self.most_noise, self.weight_floor = most_noise, weight_floor

    def check(self, network: Network) -> None:
        """As `Objective.check`, and that the head has the block.

        Raises:
            ValueError: it has no head, or one of fewer blocks.
        """
        super().check(network)
        self._block(cast(Multimodal, network).head)

    def loss(self, network: Network, batch: CaptionedImages, progress: float, seed: int) -> Loss:
        """Error of both views, as of velocities, and nats of the contrast; see `Objective.loss`.

        `found` is the share of first views whose second view is the most alike of the batch.

        Raises:
            ValueError: the head has fewer blocks than `block`.
        """
        head = cast(Multimodal, network).head
        block = self._block(head)
        data = unit_pixels(batch.pixels_BCYX)
        generator = torch.Generator(data.device).manual_seed(seed)
        views = ((_FIRST_VIEW_AREA, 0.0), (self.smallest, self.colours))
        data = torch.cat(
            [
                crop_view(data, _view_draws(len(data), generator), smallest, colours, self.mirrors)
                for smallest, colours in views
            ]
        )
        with torch.no_grad():
            null_11D = network.text(batch.token_BL[:1, :1])  # BOS alone
        text = head.text_keys_values(null_11D)
        text = [(k.expand(len(data), -1, -1, -1), v.expand(len(data), -1, -1, -1)) for k, v in text]
        count = len(data) * ranks.world()
        time_B = self.most_noise * ranks.own_rows(
            torch.rand(count, generator=generator, device=data.device)
        )
        noise = torch.randn(count, *data.shape[1:], generator=generator, device=data.device)
        noisy_BCYX = noisy(data, ranks.own_rows(noise), time_B)
        guess, state_BPD = head.denoise_with_states(noisy_BCYX, time_B, text, None, block)
        error_B = (guess.float() - data).square().mean(dim=(1, 2, 3))
        value = (error_B / time_B.clamp_min(self.weight_floor).square()).mean()
        nats, found = self._contrast(*state_BPD.float().mean(dim=1).chunk(2))
        parts = {"nats": nats, "found": found, "value": value, "pixel_error": error_B.mean()}
        return Loss(value + self.weight * nats, {k: v.detach() for k, v in parts.items()})

    def _block(self, head: DiffusionHead) -> int:
        block = -(-head.depth * 2 // 3) if self.block is None else self.block
        if not 1 <= block <= head.depth:
            raise ValueError(f"block must be between 1 and {head.depth}. Got {block} instead.")
        return block

    def _contrast(self, first_ND: Tensor, second_ND: Tensor) -> tuple[Tensor, Tensor]:
        """InfoNCE in both directions, and how often the partner is found."""
        first_MD, second_MD = ranks.whole_batch(first_ND), ranks.whole_batch(second_ND)
        # What all pictures share is most of a state, and would leave all cosines near 1.
        mean_D = torch.cat((first_MD, second_MD)).mean(dim=0)
        first_MD, second_MD = (F.normalize(x - mean_D, dim=-1) for x in (first_MD, second_MD))
        with torch.autocast(first_MD.device.type, enabled=False):  # else near cosines are equal
            return info_nce(first_MD @ second_MD.T / self.temperature)

    def flops(self, network: Network, batch: CaptionedImages) -> int:
        """The views through the head, without the comparison itself; see `Objective.flops`."""
        head = cast(Multimodal, network).head
        count, _, rows, columns = batch.pixels_BCYX.shape
        return 3 * head_flops(head, 2 * count, rows, columns, 1)


def crop_view(
    data: Tensor, draw_ND: Tensor, smallest: float, colours: float, mirrors: float = 0.5
) -> Tensor:
    """A random crop of each picture, resized back, some of them mirrored, with jittered colours.

    Args:
        data: pictures (N, C, Y, X) in [-1, 1].
        draw_ND: what decides each view, (N, 9) in [0, 1).
        smallest: smallest share of the area that is shown.
        colours: how far brightness and contrast change; a fifth lose all colours unless it is 0.
        mirrors: share that is mirrored.
    """
    side, stretch, across, down, mirror, bright, strong, vivid, grey = draw_ND.unbind(dim=1)
    side = (smallest + (1 - smallest) * side).sqrt()
    most = (-side.log()).clamp(max=_STRETCH)  # of a crop that is no wider than the picture
    stretch = ((2 * stretch - 1) * most).exp()
    wide, high = side * stretch, side / stretch
    zero = torch.zeros_like(wide)
    sign = torch.where(mirror < mirrors, -1.0, 1.0)
    rows = [wide * sign, zero, (2 * across - 1) * (1 - wide)]
    rows += [zero, high, (2 * down - 1) * (1 - high)]
    with torch.autocast(data.device.type, enabled=False):  # a place in bfloat16 is off by a pixel
        grid = F.affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(data.shape), False)
        data = F.grid_sample(data, grid, padding_mode="reflection", align_corners=False)
    if not colours:
        return data

    def part(x: Tensor) -> Tensor:
        return x.view(-1, 1, 1, 1)

    grey_N1YX = data.mean(dim=1, keepdim=True)
    keep = 1 + 2 * colours * (2 * vivid - 1)
    data = grey_N1YX + (data - grey_N1YX) * part(torch.where(grey < _GREY, zero, keep))
    mean_N111 = data.mean(dim=(1, 2, 3), keepdim=True)
    data = mean_N111 + (data - mean_N111) * part(1 + colours * (2 * strong - 1))
    return (data + part(colours * (2 * bright - 1))).clamp(-1, 1)


def _view_draws(count: int, generator: torch.Generator) -> Tensor:
    """Numbers for the views of this process, (N, 9), of those for all processes."""
    whole = count * ranks.world()
    return ranks.own_rows(torch.rand(whole, _DRAWS, generator=generator, device=generator.device))
