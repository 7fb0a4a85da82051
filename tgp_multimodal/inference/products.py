"""Matrix products with a fixed weight, packed once for the processor.

oneDNN multiplies by a weight in a memory layout of its own, and repacks it at every call unless
that was done before. On many processors nothing is faster in bfloat16, on some nothing in float32.

Shape letters: N rows, D inputs, E outputs.
"""

import torch
from torch import Tensor

_TYPES = (torch.float32, torch.bfloat16)
_ROWS = 64  # the layout is chosen for this number of rows; it serves others as well


class Matrix:
    """Multiplies rows by a weight.

    Args:
        weight_ED: as `nn.Linear` holds it.
    """

    def __init__(self, weight_ED: Tensor) -> None:
        self.packed = _packed(weight_ED)
        # A single row is memory-bound, so unpacked float32 is as fast.
        is_needed = self.packed is None or weight_ED.dtype == torch.float32
        self.plain_DE = weight_ED.T.contiguous() if is_needed else None

    def __call__(self, x_ND: Tensor, sum_NE: Tensor | None = None) -> Tensor:
        """The product, added to `sum_NE` if there is one; (N, E)."""
        if self.packed is None or (self.plain_DE is not None and len(x_ND) == 1):
            assert self.plain_DE is not None
            if sum_NE is None:
                return x_ND @ self.plain_DE
            return torch.addmm(sum_NE, x_ND, self.plain_DE)
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
