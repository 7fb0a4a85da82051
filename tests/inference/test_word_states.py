"""Features of words against one plain forward pass."""

import numpy as np
import pytest
import torch
from random_networks import text_transformer

from tgp_multimodal.inference.word_states import word_states

SENTENCES = [
    ["The", "river", "froze", "in", "1912", "."],
    ["Kras"],
    ["café", "(", "東京", ")"],
    ["a", "set", "holds", "each", "item", "once"],
]


@pytest.fixture(scope="module")
def network(tokenizer):
    return text_transformer(tokenizer.vocabulary)


@torch.no_grad()
def plain(network, tokenizer, words):
    """One row, everything visible, the mean state of the ids of each word at each depth."""
    ((ids, spans),) = tokenizer.encode_words([words])
    row_BL, depths = torch.tensor([[tokenizer.bos, *ids]]), range(network.depth + 1)
    each = [network(row_BL, None, False, depth=depth)[0, 1:] for depth in depths]
    states = torch.cat([state / network.norm.weight for state in each], dim=1).numpy()
    return np.stack([states[a:b].mean(0) for a, b in spans])


def test_states_are_those_of_a_plain_pass(network, tokenizer):
    found = word_states(network, tokenizer, SENTENCES)
    for words, state_WD in zip(SENTENCES, found, strict=True):
        assert state_WD.shape == (len(words), (network.depth + 1) * 64)
        np.testing.assert_allclose(state_WD, plain(network, tokenizer, words), atol=2e-5)


@pytest.mark.parametrize("batch_tokens", [1, 20, 10_000])
def test_company_does_not_matter(network, tokenizer, batch_tokens):
    together = word_states(network, tokenizer, SENTENCES, batch_tokens)
    back = word_states(network, tokenizer, SENTENCES[::-1], batch_tokens)[::-1]
    for one, two, words in zip(together, back, SENTENCES, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5)
        np.testing.assert_allclose(one, word_states(network, tokenizer, [words])[0], atol=2e-5)


def test_a_word_is_read_among_those_on_both_sides(network, tokenizer):
    one, other, third = word_states(
        network,
        tokenizer,
        [["the", "cell", "died"], ["the", "cell", "grew"], ["a", "cell", "died"]],
    )
    assert np.abs(one[1] - other[1]).max() > 1e-2
    assert np.abs(one[1] - third[1]).max() > 1e-2


def test_words_beyond_the_context_have_no_row(network, tokenizer):
    long = ["river"] * 100
    ((_, spans),) = tokenizer.encode_words([long])
    (found,) = word_states(network, tokenizer, [long])
    assert len(found) == sum(a + 1 < network.context for a, _ in spans) < 100
    assert word_states(network, tokenizer, []) == []
