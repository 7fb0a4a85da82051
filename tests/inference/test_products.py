"""A weight laid out for the processor multiplies as it did before."""

import pytest
import torch

from tgp_multimodal.inference import products
from tgp_multimodal.inference.products import Matrix


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 70])
def test_products_are_those_of_the_weight(rows, dtype, is_packed, monkeypatch):
    if not is_packed:
        monkeypatch.setattr(products, "_packed", lambda weight: None)
    generator = torch.Generator().manual_seed(rows)
    x, weight, bias = (
        torch.randn(shape, generator=generator).to(dtype)
        for shape in ((rows, 24), (40, 24), (rows, 40))
    )  # fmt: skip
    exact = x.double() @ weight.double().T
    matrix, size = Matrix(weight), {"atol": 1e-5, "rtol": 1e-5}
    if dtype == torch.bfloat16:
        size = {"atol": 0.1, "rtol": 0.02}
    with torch.inference_mode():
        torch.testing.assert_close(matrix(x).double(), exact, **size)
        torch.testing.assert_close(matrix(x, bias).double(), exact + bias.double(), **size)
    assert matrix(x).dtype == dtype
