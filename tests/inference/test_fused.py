"""The network arranged for answering gives what the network gives."""

import pytest
import torch
from random_networks import randomise, text_transformer

from tgp_multimodal.inference import products
from tgp_multimodal.inference.fused import fused
from tgp_multimodal.models.text_transformer import TextTransformer, visible

SHAPES = [(4, 2), (4, 4), (4, 1)]


@pytest.fixture(params=SHAPES, ids=str)
def network(request):
    heads, groups = request.param
    text = TextTransformer(320, 64, 3, 96, heads, groups, context=64, rope_theta=500.0)
    randomise(text)
    return text


@pytest.fixture(name="token_BL")
def rows():
    return torch.randint(0, 320, (3, 20), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
@pytest.mark.parametrize("is_causal", [True, False])
def test_states_are_those_of_the_network(network, token_BL, is_causal):
    position_BL = torch.tensor([*range(8), *range(12)]).expand(3, -1)
    allowed = visible(position_BL, is_causal, None)
    expected = network(token_BL, position_BL, is_causal)
    found = fused(network).states(token_BL, position_BL, allowed)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        fused(network).logits(found), network.logits(expected), atol=1e-4, rtol=0
    )
    streams = list(fused(network).walk(token_BL, position_BL, allowed))
    assert len(streams) == network.depth + 1
    for depth, stream_ND in enumerate(streams):
        normed_ND = fused(network).normed(stream_ND) * network.norm.weight
        expected = network(token_BL, position_BL, is_causal, depth=depth).flatten(0, 1)
        torch.testing.assert_close(normed_ND, expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_no_mask_means_everywhere(network, token_BL):
    found = fused(network).states(token_BL)
    torch.testing.assert_close(found, network(token_BL, is_causal=False), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_cache_goes_on_where_it_was(network, token_BL):
    cache = network.new_cache(3, 20)
    whole = network(token_BL)
    first = torch.ones(12, 12, dtype=torch.bool).tril()[None]
    found = [fused(network).states(token_BL[:, :12], None, first, cache)]
    found += [fused(network).states(token_BL[:, i : i + 1], cache=cache) for i in range(12, 20)]
    torch.testing.assert_close(torch.cat(found, dim=1), whole, atol=1e-5, rtol=0)


def test_rows_of_a_cache_are_independent_copies(network, token_BL):
    cache = network.new_cache(3, 20)
    with torch.inference_mode():
        fused(network).states(token_BL[:, :5], None, None, cache)
    chosen = cache.rows(torch.tensor([2, 0, 2]))
    assert (chosen.length, chosen.capacity) == (5, 20)
    for copies, originals in zip(chosen.buffers, cache.buffers, strict=True):
        for copy, original in zip(copies, originals, strict=True):
            assert torch.equal(copy[:, :, :5], original[[2, 0, 2], :, :5])
            copy.zero_()
            assert bool(original[:, :, :5].any())


@pytest.mark.parametrize("is_intel", [True, False])
@torch.inference_mode()
def test_bfloat16_is_as_near_as_the_network_in_bfloat16(token_BL, is_intel, monkeypatch):
    monkeypatch.setattr(products, "_is_intel", lambda: is_intel)
    wide = text_transformer(320)
    narrow = text_transformer(320).to(torch.bfloat16)
    truth = wide(token_BL)
    theirs = (narrow(token_BL, is_causal=True).float() - truth).square().mean().sqrt()
    mask = torch.ones(20, 20, dtype=torch.bool).tril()[None]
    ours = (fused(narrow).states(token_BL, None, mask).float() - truth).square().mean().sqrt()
    assert float(ours) < 1.3 * float(theirs) < 0.1
    cache = narrow.new_cache(3, 20)
    steps = [fused(narrow).states(token_BL[:, i : i + 1], cache=cache) for i in range(20)]
    ours = (torch.cat(steps, dim=1).float() - truth).square().mean().sqrt()
    assert float(ours) < 1.3 * float(theirs)
    assert cache.buffers[0][0].dtype == steps[0].dtype == torch.bfloat16


def test_made_once_and_again_after_a_change(network):
    first = fused(network)
    assert fused(network) is first
    with torch.no_grad():
        network.layers[1].self_attn.q_norm.weight.add_(1.0)
    assert fused(network) is not first
    second = fused(network)
    network.to(torch.float64)
    assert fused(network) is not second


@torch.inference_mode()
def test_rows_behind_one_front_are_as_rows_with_copies_of_it(network, token_BL):
    prefix, copied = network.new_cache(1, 12), network.new_cache(3, 20)
    same_BL = torch.cat((token_BL[:1, :12].expand(3, -1), token_BL[:, 12:]), dim=1)
    first = torch.ones(12, 12, dtype=torch.bool).tril()[None]
    fused(network).states(same_BL[:1, :12], None, first, prefix)
    fused(network).states(same_BL[:, :12], None, first, copied)
    shared, order = prefix.with_shared_prefix(3, 8), torch.arange(3)
    for column in range(12, 20):
        if column == 16:  # rows may go on the way
            order = torch.tensor([2, 0])
            shared, copied = shared.rows(order), copied.rows(order)
        step_BL = same_BL[order, column : column + 1]
        found = fused(network).states(step_BL, cache=shared)
        expected = fused(network).states(step_BL, cache=copied)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert prefix.length == 12
    assert shared.end == copied.end == 20
    with pytest.raises(AssertionError):  # a prefix is left out where several tokens are read
        fused(network).states(same_BL[:, :2], cache=prefix.with_shared_prefix(3, 8))
