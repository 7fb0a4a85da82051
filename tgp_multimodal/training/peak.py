"""What a device could do at best: the denominator of model FLOPs utilisation."""

import warnings

import torch
from lightning.fabric.utilities.throughput import get_available_flops

from tgp_multimodal.training.precision import product_seconds

_SIZE = 1024
# The vendor's figures for dense products; Lightning knows this GPU by other names.
_H200 = {torch.bfloat16: 989.5e12, torch.float16: 989.5e12, torch.float32: 67e12}
_H200_TF32 = 494.7e12  # float32 products run in TF32 unless that is forbidden


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Peak floating-point operations per second of a device; None where they are not known.

    For a GPU the vendor's figure; for a CPU the rate of one large matrix product, measured now.
    """
    if device.type == "cuda":
        if "H200" in torch.cuda.get_device_name(device):
            if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
                return _H200_TF32
            return _H200.get(dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one that it does not know
            found = get_available_flops(device, dtype)
        return float(found) if found else None
    if device.type != "cpu":
        return None
    x = torch.randn(_SIZE, _SIZE).to(dtype)
    return float(2 * _SIZE**3 / product_seconds(x, x))
