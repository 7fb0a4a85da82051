"""The shared parts follow their formulas."""

import pytest
import torch
from torch.nn import functional

from tgp_multimodal.models.layers import (
    KeyValueCache,
    RMSNorm,
    attention,
    rotary_tables,
    rotate_halves,
    rotate_neighbours,
)


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_is_torchs(dtype, learns):
    norm = RMSNorm(8)
    norm.weight.data = torch.linspace(0.5, 2, 8)
    x = (10 * torch.randn(4, 8)).to(dtype)
    expected = functional.rms_norm(x.float(), (8,), norm.weight, 1e-6).to(dtype)
    with torch.set_grad_enabled(learns):
        found = norm(x)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert found.dtype == dtype


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("rotate", [rotate_halves, rotate_neighbours])
def test_rotation_keeps_lengths_and_depends_on_distance_only(rotate, learns):
    query, key = torch.randn(2, 8)
    position = torch.arange(20)
    tables = rotary_tables(position, 8, 10000.0)
    with torch.set_grad_enabled(learns):
        turned_query = rotate(query.expand(20, 8), *tables)
        turned_key = rotate(key.expand(20, 8), *tables)
    torch.testing.assert_close(turned_query.norm(dim=-1), query.norm().expand(20))
    products = turned_query @ turned_key.T
    for distance in range(-10, 10):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert products[0].std() > 1e-3


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("rotate", [rotate_halves, rotate_neighbours])
def test_rotation_widens_to_float32(rotate, learns):
    x = torch.randn(2, 3, 5, 8).bfloat16().transpose(1, 2)  # strided, as heads are
    tables = rotary_tables(torch.arange(3), 8, 10000.0)
    with torch.set_grad_enabled(learns):
        torch.testing.assert_close(rotate(x, *tables), rotate(x.float(), *tables))


def test_rotation_by_hand():
    tables = rotary_tables(torch.tensor([1]), 4, 100.0)  # angles 1 and 0.1
    x = torch.tensor([[1.0, 0, 0, 0]])
    expected = torch.tensor([1.0]).cos(), torch.tensor([1.0]).sin()
    torch.testing.assert_close(rotate_halves(x, *tables)[0, [0, 2]], torch.cat(expected))
    torch.testing.assert_close(rotate_neighbours(x, *tables)[0, [0, 1]], torch.cat(expected))


@pytest.mark.parametrize("learns", [True, False])
def test_attention_is_torchs(learns):
    query, key, value = torch.randn(3, 2, 4, 6, 8)
    allowed = torch.rand(2, 1, 6, 6) > 0.4
    allowed |= torch.eye(6, dtype=torch.bool)
    for mask in (None, allowed):
        logits = query @ key.mT * 8**-0.5
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        expected = logits.softmax(dim=-1) @ value
        with torch.set_grad_enabled(learns):
            mine = attention(query, key, value, mask)
            rounded = attention(*(x.bfloat16() for x in (query, key, value)), mask)
        torch.testing.assert_close(mine, expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(rounded.float(), expected, atol=0.03, rtol=0)


def test_cache_gives_back_what_it_was_given():
    cache = KeyValueCache(1, 2, 3, 5, 4, torch.zeros(1))
    parts = torch.randn(2, 2, 3, 2, 4)
    for key in parts:
        keys, values = cache.extend(0, key, -key)
        cache.length += 2
    torch.testing.assert_close(keys, torch.cat(list(parts), dim=2))
    torch.testing.assert_close(values, -keys)
    assert cache.start_B.tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("part", ["norm", "halves", "neighbours"])
def test_gradients_by_hand_are_those_of_the_formula(part, dtype, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    norm, tables = RMSNorm(8), rotary_tables(torch.arange(5), 8, 10000.0)
    norm.weight.data = torch.linspace(0.5, 2, 8)
    compute = {
        "norm": norm,
        "halves": lambda x: rotate_halves(x, *tables),
        "neighbours": lambda x: rotate_neighbours(x, *tables),
    }[part]
    given = torch.randn(2, 3, 5, 8, generator=generator).to(dtype)
    by_out = torch.randn(2, 3, 5, 8, generator=generator).to(dtype)

    def run():
        norm.weight.grad = None
        leaf = given.clone().requires_grad_()
        out = compute(leaf)
        out.backward(by_out.to(out.dtype))
        grads = [x.grad for x in (leaf, norm.weight) if x.grad is not None]
        return [out.detach(), *grads]

    by_hand = run()
    monkeypatch.setattr("tgp_multimodal.models.layers.uses_manual_backward", lambda x: False)
    plain = run()
    assert len(by_hand) == len(plain) >= 2
    size = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.06, "rtol": 0.03}
    for mine, formula in zip(by_hand, plain, strict=True):
        assert mine.dtype == formula.dtype
        torch.testing.assert_close(mine, formula, **size)
