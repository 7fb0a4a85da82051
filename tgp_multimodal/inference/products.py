"""Matrix products with a fixed weight, laid out once for the processor.

oneDNN multiplies by a weight in a memory layout of its own, and repacks it at every call unless
that was done before. On many processors nothing is faster in bfloat16, on some nothing in float32.
A call costs it some 40 us however small the weight, and MKL a third of that on Intel processors:
there MKL multiplies by small weights, by a float32 copy where they are bfloat16 and rows are few.

Shape letters: N rows, D inputs, E outputs.
"""

import functools
import sys
from pathlib import Path

import torch
from torch import Tensor

_TYPES = (torch.float32, torch.bfloat16)
_ROWS = 64  # the layout is chosen for this number of rows; it serves others as well
SMALL = 2**19  # elements of a weight; above, the time of a product hides that of the call
_FEW_ROWS = 8  # above, products in bfloat16 are faster than those in float32
_ALL_ROWS = sys.maxsize


class Matrix:
    """Multiplies rows by a weight.

    Attributes:
        wide_rows: up to so many rows are multiplied in float32 although the weight is bfloat16.

    Args:
        weight_ED: as `nn.Linear` holds it.
    """

    def __init__(self, weight_ED: Tensor) -> None:
        is_wide = weight_ED.dtype == torch.float32
        is_small = weight_ED.numel() <= SMALL and _suits_mkl(weight_ED)
        self.packed = None if is_wide and is_small else _packed(weight_ED)
        if is_small:
            weight_ED = weight_ED.float()  # MKL multiplies no bfloat16
        if self.packed is None:
            self.plain_rows = _ALL_ROWS
        elif is_small:
            self.plain_rows = _FEW_ROWS
        else:
            # A single row is memory-bound, so unpacked float32 is as fast.
            self.plain_rows = 1 if is_wide else 0
        self.plain_DE = weight_ED.T.contiguous() if self.plain_rows else None
        self.wide_rows = self.plain_rows if is_small and not is_wide else 0

    def __call__(self, x_ND: Tensor, sum_NE: Tensor | None = None) -> Tensor:
        """The product, added to `sum_NE` if there is one; (N, E)."""
        if self.plain_DE is not None and len(x_ND) <= self.plain_rows:
            dtype = self.plain_DE.dtype
            if sum_NE is None:
                return torch.mm(x_ND.to(dtype), self.plain_DE).to(x_ND.dtype)
            return torch.addmm(sum_NE.to(dtype), x_ND.to(dtype), self.plain_DE).to(x_ND.dtype)
        linear = torch.ops.mkldnn._linear_pointwise
        if sum_NE is None:
            return linear(x_ND, self.packed, None, "none", [], "")
        return linear.binary(x_ND, sum_NE, self.packed, None, "add")


def _packed(weight_ED: Tensor) -> Tensor | None:
    """The weight in oneDNN's order; None where oneDNN is not there."""
    if weight_ED.device.type != "cpu" or weight_ED.dtype not in _TYPES:
        return None
    try:
        return torch.ops.mkldnn._reorder_linear_weight(weight_ED.contiguous(), _ROWS)
    except (AttributeError, RuntimeError):  # built without it, or the type is not supported
        return None


def _suits_mkl(weight_ED: Tensor) -> bool:
    """Whether MKL can multiply by the weight, or a float32 copy, on an Intel processor."""
    is_here = weight_ED.device.type == "cpu" and weight_ED.dtype in _TYPES
    has_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return is_here and has_mkl and _is_intel()


@functools.cache
def _is_intel() -> bool:
    info = Path("/proc/cpuinfo")
    return info.is_file() and "GenuineIntel" in info.read_text("utf-8", errors="replace")
