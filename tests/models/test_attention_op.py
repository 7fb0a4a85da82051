"""Attention tile by tile: the formula's states and gradients, whatever rows are causal."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import randomise

from tgp_multimodal.models import attention_op
from tgp_multimodal.models.attention_op import opaque_attention, tiled_attention, tiles
from tgp_multimodal.models.text_transformer import TextTransformer, visible

KINDS = {  # and how many leading rows are causal
    "causal": (True, 3),
    "both ways": (False, 0),
    "causal first": (torch.tensor([True, True, False]), 2),
    "mixed": (torch.tensor([True, False, True]), 1),
    "a masked row first": (torch.tensor([False, True, True]), 0),
    "all of a tensor": (torch.tensor([True, True, True]), 3),
}


def formula(query, key, value, allowed):
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    logits = (query @ key.mT).masked_fill(~allowed, -torch.inf)
    return logits.softmax(dim=-1) @ value


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.booleans(), min_size=1, max_size=4), st.integers(1, 50),
    st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3)]), st.sampled_from([1, 7, 16, 128]),
)  # fmt: skip
def test_outputs_and_gradients_are_those_of_the_formula(is_causal, length, heads, tile):
    generator = torch.Generator().manual_seed(length)
    batch, leading = len(is_causal), ([*is_causal, False]).index(False)
    shapes = [(batch, count, length, 4) for count in (heads[0], heads[1], heads[1], heads[0])]
    *three, weight = (torch.randn(shape, generator=generator) for shape in shapes)
    allowed = torch.rand(batch, 1, length, length, generator=generator) > 0.3
    ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
    allowed &= ~(ahead & torch.tensor(is_causal)[:, None, None, None])
    allowed |= torch.eye(length, dtype=torch.bool)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_op, "_TILE", tile)
        for way in (
            formula,
            lambda *x: tiled_attention(*x, torch.tensor(leading)),
            lambda *x: opaque_attention(*x, torch.tensor(leading))[0],
        ):
            leaves = [x.clone().requires_grad_() for x in three]
            out = way(*leaves, allowed)
            found.append([out.detach(), *torch.autograd.grad((out * weight).sum(), leaves)])
    for expected, *mine in zip(*found, strict=True):
        for one in mine:
            torch.testing.assert_close(one, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [None, 2])
def test_compilers_are_told_the_truth(causal, monkeypatch):
    monkeypatch.setattr(attention_op, "_TILE", 4)
    shapes = ((3, 7, 4, 8), (3, 7, 2, 8), (3, 7, 2, 8))
    transposed = (torch.randn(shape).transpose(1, 2) for shape in shapes)  # as projections are
    three = [x.detach().requires_grad_() for x in transposed]
    allowed = torch.ones(1, 1, 7, 7, dtype=torch.bool).tril()
    leading = None if causal is None else torch.tensor(causal)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(opaque_attention, (*three, allowed, leading), test_utils=checks)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own doing
def test_one_compiled_graph_serves_any_number_of_causal_rows(monkeypatch):
    monkeypatch.setattr(attention_op, "_TILE", 4)
    text = TextTransformer(320, 32, 2, 48, 4, 2, context=64)
    randomise(text)
    token_BL = torch.randint(0, 320, (3, 9), generator=torch.Generator().manual_seed(1))
    for layer in text.layers:
        layer.compile(backend="aot_eager")
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters["stats"]
    one_more = counters["unique_graphs"] + 1
    for causal in range(4):
        is_causal = torch.arange(3) < causal
        found = []
        for stance in ("force_eager", "default"):
            with torch.compiler.set_stance(stance):
                state = text(token_BL, None, is_causal)
                gradients = torch.autograd.grad(state.square().sum(), tuple(text.parameters()))
            found.append((state.detach(), *gradients))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert counters["unique_graphs"] == one_more


@pytest.mark.parametrize("kind", KINDS)
def test_states_of_a_network_are_the_same(kind, monkeypatch):
    text = TextTransformer(320, 32, 2, 48, 4, 2, context=64)
    randomise(text)
    generator = torch.Generator().manual_seed(1)
    token_BL = torch.randint(0, 320, (3, 45), generator=generator)
    position_BL = torch.tensor([*range(20), *range(25)]).expand(3, -1)
    weight_BLD = torch.randn(3, 45, 32, generator=generator)

    is_causal, leading = KINDS[kind]

    def learnt():
        state_BLD = text(token_BL, position_BL, is_causal)
        gradients = torch.autograd.grad((state_BLD * weight_BLD).sum(), tuple(text.parameters()))
        return state_BLD.detach(), gradients

    expected_state, expected = learnt()
    monkeypatch.setattr(attention_op, "_TILE", 16)
    asked = tiles_asked_for(monkeypatch)
    state, found = learnt()
    assert set(asked) == {leading}
    torch.testing.assert_close(state, expected_state, atol=1e-5, rtol=0)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def tiles_asked_for(monkeypatch):
    """How many causal rows each call for tiles has from now on."""
    asked = []
    monkeypatch.setattr(
        attention_op, "tiles", lambda causal, *rest: asked.append(causal) or tiles(causal, *rest)
    )
    return asked


@pytest.mark.parametrize("how", ["bfloat16", "frozen", "padded", "no gradient"])
def test_other_ways_give_the_same(how, monkeypatch):
    text = TextTransformer(320, 32, 2, 48, 4, 2, context=64).requires_grad_(how != "frozen")
    randomise(text)
    token_BL = torch.randint(0, 320, (3, 45), generator=torch.Generator().manual_seed(1))
    mask_BL = torch.arange(45) < torch.tensor([[45], [30], [1]]) if how == "padded" else None

    def states():
        arithmetic = torch.autocast("cpu", torch.bfloat16, enabled=how == "bfloat16")
        with arithmetic, torch.set_grad_enabled(how != "no gradient"):
            return text(token_BL, mask_BL=mask_BL).detach()

    expected = states()
    monkeypatch.setattr(attention_op, "_TILE", 16)
    asked = tiles_asked_for(monkeypatch)
    rounding = 0.05 if how == "bfloat16" else 1e-5
    torch.testing.assert_close(states(), expected, atol=rounding, rtol=0)
    assert set(asked) == (set() if how == "no gradient" else {3})


@settings(deadline=None)
@given(st.integers(0, 4), st.integers(1, 4), st.integers(1, 400))
def test_tiles_hold_all_that_is_visible_and_each_query_once(causal, rows, length):
    causal = min(causal, rows)
    position_BL = torch.arange(length).expand(rows, -1)
    seen = visible(position_BL, torch.arange(rows) < causal, None)
    times_BL = torch.zeros(rows, length)
    for part, queries, keys in tiles(causal, rows, length, length):
        times_BL[part, queries] += 1
        seen[part, queries, keys] = False
    assert bool((times_BL == 1).all())
    assert not bool(seen.any())
