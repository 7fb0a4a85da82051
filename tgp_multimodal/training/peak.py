"""What a device could do at best: the denominator of model FLOPs utilisation."""

import torch
from lightning.fabric.utilities.throughput import get_available_flops

from tgp_multimodal.training.precision import product_seconds

_SIZE = 1024
_H200 = 989.5e12  # dense bfloat16, as its maker says


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations a second that a device could do at best; None where nobody knows.

    Of a GPU what its maker says, of a processor the rate of one large product, measured now.
    """
    if device.type == "cuda":
        if torch.cuda.get_device_name(device) == "NVIDIA H200" and dtype == torch.bfloat16:
            return _H200  # Lightning knows it by other names alone
        found = get_available_flops(device, dtype)
        return float(found) if found else None
    if device.type != "cpu":
        return None
    x = torch.randn(_SIZE, _SIZE).to(dtype)
    return float(2 * _SIZE**3 / product_seconds(x))
