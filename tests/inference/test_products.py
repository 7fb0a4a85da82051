"""A weight laid out for the processor multiplies as it did before."""

import pytest
import torch

from tgp_multimodal.inference import products
from tgp_multimodal.inference.products import Matrix


@pytest.mark.parametrize("is_intel", [True, False])
@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 70])
def test_products_are_those_of_the_weight(rows, dtype, is_packed, is_intel, monkeypatch):
    monkeypatch.setattr(products, "_is_intel", lambda: is_intel)
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


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="needs MKL")
def test_small_weights_are_left_to_mkl_on_its_makers_processors(monkeypatch):
    small, large = torch.randn(64, 32), torch.randn(1025, 512)
    monkeypatch.setattr(products, "_packed", lambda weight: weight)  # whatever the processor has
    monkeypatch.setattr(products, "_is_intel", lambda: True)
    assert Matrix(small).packed is None
    assert Matrix(large).packed is not None
    both = Matrix(small.bfloat16())  # many rows are faster in bfloat16, few are not
    assert both.packed is not None
    assert both.plain_DE.dtype == torch.float32
    monkeypatch.setattr(products, "_is_intel", lambda: False)
    assert Matrix(small).packed is not None
    assert Matrix(small.bfloat16()).plain_DE is None
