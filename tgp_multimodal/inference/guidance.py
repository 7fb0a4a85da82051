"""Guidance: from the picture without prompt towards the one with it, and beyond.

Shape letters: B pictures, N prompts, C channels, Y rows, X columns, L prompt length.
"""

import torch
from torch import Tensor

from tgp_multimodal.diffusion.samplers import Denoise
from tgp_multimodal.inference.drawing import Drawing
from tgp_multimodal.models.diffusion_head import DiffusionHead

_NEAR = 1e-6  # times are float32, and 0.6 is not the same there


def guided(
    head: DiffusionHead, text: list[tuple[Tensor, Tensor]], mask_NL: Tensor, drawing: Drawing
) -> Denoise:
    """The denoiser that samplers call, with classifier-free guidance.

    Where guidance acts, the predictions with and without the prompt share one batch.

    Args:
        head: the diffusion head.
        text: keys and values of the prompts in each of its blocks; with guidance those of the
            negative prompt are the last, and serve every picture.
        mask_NL: False at padding of the prompts.
        drawing: settings.
    """
    is_guided = drawing.guidance > 1
    count = len(mask_NL) - is_guided
    index = [*range(count), *[count] * count] if is_guided else []
    own, own_BL = [(key[:count], value[:count]) for key, value in text], mask_NL[:count]
    both, both_BL = [(key[index], value[index]) for key, value in text], mask_NL[index]

    def denoise(x_BCYX: Tensor, time: float) -> Tensor:
        # One time for all: its modulation is computed once and broadcast.
        now = torch.full((1,), time, device=x_BCYX.device)
        is_inside = drawing.guidance_from - _NEAR <= time <= drawing.guidance_to + _NEAR
        if not is_guided or not is_inside:
            return head.denoise(x_BCYX, now, own, own_BL)
        clean = head.denoise(torch.cat((x_BCYX, x_BCYX)), now, both, both_BL)
        with_prompt, without = clean.chunk(2)
        clean = without + drawing.guidance * (with_prompt - without)
        return rescaled(clean, with_prompt, drawing.guidance_rescale)

    return denoise


def rescaled(guided_BCYX: Tensor, with_prompt_BCYX: Tensor, share: float) -> Tensor:
    """Guided pictures, rescaled towards the contrast of the prediction with the prompt alone.

    Guidance raises the standard deviation of the pixels and so over-saturates colours. Lin et al.
    2023, arXiv:2305.08891, equations 15 and 16, on our prediction of clean pictures.

    Args:
        guided_BCYX: pictures after guidance.
        with_prompt_BCYX: pictures before it.
        share: 0 leaves them as they are, 1 gives each the standard deviation of the one before.
    """
    if not share:
        return guided_BCYX
    before, after = (x.std((1, 2, 3), keepdim=True) for x in (with_prompt_BCYX, guided_BCYX))
    after = after.clamp_min(1e-6)  # of a picture of one colour
    return share * guided_BCYX * (before / after) + (1 - share) * guided_BCYX
