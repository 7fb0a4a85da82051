"""The straight path between data (t = 0) and noise (t = 1).

Shape letters: B batch; the other axes are those of a picture, (C, Y, X).
"""

from torch import Tensor

T_MIN = 0.05  # samplers divide by no smaller time, as the stock pipeline


def noisy(data: Tensor, noise: Tensor, time_B: Tensor) -> Tensor:
    """The point (1 - t) * data + t * noise of the path.

    Liu et al. 2022, arXiv:2209.03003; Lipman et al. 2022, arXiv:2210.02747, eq. 22 with time
    reversed.
    """
    time = _like(time_B, data)
    return (1 - time) * data + time * noise


def _like(time_B: Tensor, pixels: Tensor) -> Tensor:
    return time_B.to(pixels.dtype).view(-1, *[1] * (pixels.ndim - 1))
