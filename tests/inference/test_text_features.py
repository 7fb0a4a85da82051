"""Features of texts against the states of the plain network."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_networks import text_transformer

from tgp_multimodal.inference import text_features
from tgp_multimodal.inference.text import embed
from tgp_multimodal.inference.text_features import features_of_layers, last_of_layers, places
from tgp_multimodal.models.layers import RMSNorm

TEXTS = ["The river carried ice.", "", "The river", "a b c d e f g h i j k l m n o p q r s t"]


@torch.no_grad()
def plain(network, ids, is_causal):
    """One text, one forward pass, every layer watched."""
    states = []
    handles = [
        module.register_forward_hook(lambda _module, _given, made: states.append(made))
        for module in (network.embed_tokens, *network.layers)
    ]
    network(torch.tensor([ids]), is_causal=is_causal)
    for handle in handles:
        handle.remove()
    norm = RMSNorm(network.width)
    return torch.cat([norm(state)[0].mean(0) for state in states]).numpy()


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("batch_tokens", [1, 64, 2048])
def test_means_over_the_tokens_of_each_layer(tokenizer, batch_tokens, is_causal):
    network = text_transformer(tokenizer.vocabulary, context=16)
    found_ND = features_of_layers(network, tokenizer, TEXTS, is_causal, batch_tokens)
    assert found_ND.shape == (len(TEXTS), (network.depth + 1) * network.width)
    for text, row_D in zip(TEXTS, found_ND, strict=True):
        ids = tokenizer.encode(text, bos=True)[:16]
        np.testing.assert_allclose(row_D, plain(network, ids, is_causal), atol=3e-5)


def test_the_usual_vectors_are_the_last_part_but_for_gains(tokenizer):
    network = text_transformer(tokenizer.vocabulary, context=16)
    torch.nn.init.uniform_(network.norm.weight, 0.5, 2.0)
    expected_ND = embed(network, tokenizer, TEXTS)
    found_ND = last_of_layers(network, features_of_layers(network, tokenizer, TEXTS))
    np.testing.assert_allclose(found_ND, expected_ND, atol=2e-5)


def test_large_networks_are_read_at_every_second_or_third_layer(tokenizer, monkeypatch):
    network = text_transformer(tokenizer.vocabulary, context=16)
    whole_ND = features_of_layers(network, tokenizer, TEXTS)
    most = network.depth * network.width  # one state too few
    monkeypatch.setattr(text_features, "places", partial(places, most=most))
    some_ND = features_of_layers(network, tokenizer, TEXTS)
    assert 0 < some_ND.shape[1] <= most
    last = -network.width
    np.testing.assert_array_equal(some_ND[:, last:], whole_ND[:, last:])


@given(st.integers(1, 99), st.integers(1, 9000), st.integers(1, 9000))
def test_as_many_layers_as_there_is_room_for_the_last_among_them(count, width, most):
    chosen = places(count, width, most)
    assert chosen[-1] == count - 1
    assert len(chosen) * width <= max(most, width)
    assert 2 * len(chosen) * width > min(most - width, count * width)  # and no fewer than half
