"""The control of a comparison: a head that predicts velocities, where ours predicts pictures."""

from torch import Tensor

from tgp_multimodal.models.diffusion_head import DiffusionHead


class VelocityHead(DiffusionHead):
    """Predicts noise - picture; the picture is what the velocity leads back to, x_t - t v.

    The stock pipeline cannot draw from it, so it is no part of the package.
    """

    def denoise(
        self,
        pixels_BCYX: Tensor,
        time_B: Tensor,
        text: list[tuple[Tensor, Tensor]],
        mask_BL: Tensor | None = None,
    ) -> Tensor:
        """As `DiffusionHead.denoise`: the clean pixels."""
        velocity = super().denoise(pixels_BCYX, time_B, text, mask_BL)
        return pixels_BCYX - time_B.view(-1, 1, 1, 1).to(velocity.dtype) * velocity
