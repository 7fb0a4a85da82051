"""Features of texts against the states and activations of the plain network."""

import numpy as np
import pytest
import torch
from random_networks import text_transformer

from tgp_multimodal.inference import text_features
from tgp_multimodal.inference.text_features import VIEWS, View, feature_count, features_of_views
from tgp_multimodal.models.layers import RMSNorm

TEXTS = ["The river carried ice.", "", "The river", "a b c d e f g h i j k l m n o p q r s t"]


@torch.no_grad()
def plain(network, ids, view):
    """One text, one forward pass, every layer watched."""
    seen = [network.embed_tokens] if view.reads == "layers" else []
    seen += [b if view.reads == "layers" else b.mlp.down_proj for b in network.layers]
    read = []
    handles = [
        module.register_forward_hook(
            lambda _, given, made: read.append(made if view.reads == "layers" else given[0])
        )
        for module in seen
    ]
    network(torch.tensor([ids]), is_causal=view.is_causal)
    for handle in handles:
        handle.remove()
    if view.reads == "layers":
        read = [RMSNorm(network.width)(state) for state in read]
    return torch.cat([x[0].mean(0) for x in read]).numpy()


@pytest.mark.parametrize("batch_tokens", [1, 64, 2048])
def test_means_over_the_tokens_of_each_layer(tokenizer, batch_tokens):
    network = text_transformer(tokenizer.vocabulary, context=16)
    found = features_of_views(network, tokenizer, TEXTS, VIEWS, batch_tokens)
    for view, matrix_ND in zip(VIEWS, found, strict=True):
        assert matrix_ND.shape == (len(TEXTS), feature_count(network, view))
        for text, row_D in zip(TEXTS, matrix_ND, strict=True):
            ids = tokenizer.encode(text, bos=True)[:16]
            np.testing.assert_allclose(row_D, plain(network, ids, view), atol=3e-5)
    assert len({str(view) for view in VIEWS}) == len(VIEWS)


def test_large_networks_are_read_at_every_second_or_third_layer(tokenizer, monkeypatch):
    network = text_transformer(tokenizer.vocabulary, context=16)
    view = View("units")
    (whole_ND,) = features_of_views(network, tokenizer, TEXTS, [view])
    most = (network.depth - 1) * network.feed_forward
    monkeypatch.setattr(text_features, "_MOST", most)
    (some_ND,) = features_of_views(network, tokenizer, TEXTS, [view])
    assert some_ND.shape[1] == feature_count(network, view) <= most
    last = -network.feed_forward
    np.testing.assert_array_equal(some_ND[:, last:], whole_ND[:, last:])


@pytest.mark.parametrize(("count", "width", "read"), [(7, 256, 7), (13, 768, 5), (1, 9000, 1)])
def test_the_last_layer_is_always_read(count, width, read):
    chosen = text_features.places(count, width)
    assert len(chosen) == read
    assert chosen[-1] == count - 1
