"""Attention tile by tile: the same states and gradients, whatever rows are causal."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import randomise

from tgp_multimodal.models import text_transformer
from tgp_multimodal.models.text_transformer import TextTransformer, causal_tiles, visible

KINDS = {
    "causal": True,
    "both ways": False,
    "causal first": torch.tensor([True, True, False]),
    "mixed": torch.tensor([True, False, True]),
    "a masked row first": torch.tensor([False, True, True]),
    "all of a tensor": torch.tensor([True, True, True]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_states_and_gradients_are_the_same(kind, monkeypatch):
    text = TextTransformer(320, 32, 2, 48, 4, 2, context=64)
    randomise(text)
    generator = torch.Generator().manual_seed(1)
    token_BL = torch.randint(0, 320, (3, 45), generator=generator)
    position_BL = torch.tensor([*range(20), *range(25)]).expand(3, -1)
    weight_BLD = torch.randn(3, 45, 32, generator=generator)

    def learnt():
        state_BLD = text(token_BL, position_BL, KINDS[kind])
        gradients = torch.autograd.grad((state_BLD * weight_BLD).sum(), tuple(text.parameters()))
        return state_BLD.detach(), gradients

    expected_state, expected = learnt()
    monkeypatch.setattr(text_transformer, "_TILE", 16)
    made = tiles_made(monkeypatch)
    state, found = learnt()
    assert len(made) == (kind not in ("both ways", "a masked row first"))
    torch.testing.assert_close(state, expected_state, atol=1e-5, rtol=0)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def tiles_made(monkeypatch):
    """Every mask with tiles from now on."""
    made, mask = [], text_transformer.TiledMask
    monkeypatch.setattr(
        text_transformer, "TiledMask", lambda *parts: made.append(parts) or mask(*parts)
    )
    return made


@pytest.mark.parametrize("how", ["bfloat16", "frozen", "padded", "compiled", "no gradient"])
def test_other_ways_give_the_same(how, monkeypatch):
    text = TextTransformer(320, 32, 2, 48, 4, 2, context=64).requires_grad_(how != "frozen")
    randomise(text)
    text.is_compiled = how == "compiled"
    token_BL = torch.randint(0, 320, (3, 45), generator=torch.Generator().manual_seed(1))
    mask_BL = torch.arange(45) < torch.tensor([[45], [30], [1]]) if how == "padded" else None

    def states():
        arithmetic = torch.autocast("cpu", torch.bfloat16, enabled=how == "bfloat16")
        with arithmetic, torch.set_grad_enabled(how != "no gradient"):
            return text(token_BL, mask_BL=mask_BL).detach()

    expected = states()
    monkeypatch.setattr(text_transformer, "_TILE", 16)
    made = tiles_made(monkeypatch)
    torch.testing.assert_close(states(), expected, atol=1e-5, rtol=0)
    assert len(made) == (how not in ("compiled", "no gradient"))


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=4), st.integers(2, 400))
def test_tiles_hold_all_that_is_visible_and_each_query_once(causal, length):
    is_causal = torch.tensor(causal)
    position_BL = torch.arange(length).expand(len(causal), -1)
    seen = visible(position_BL, is_causal, None)
    times_BL = torch.zeros(len(causal), length)
    for rows, queries, keys in causal_tiles(is_causal, len(causal), length):
        times_BL[rows, queries] += 1
        seen[rows, queries, keys] = False
    assert bool((times_BL == 1).all())
    assert not bool(seen.any())
