"""Denoising errors and the diffusion classifier: by hand, in any batch, on one noise for all."""

import numpy as np
import pytest
import torch
from random_networks import multimodal

from tgp_multimodal.inference.denoising import classify, errors

TIMES = (0.2, 0.7)
CAPTIONS = ["a red circle", "", "three green squares left of a blue triangle"]


@pytest.fixture(scope="module")
def network(tokenizer):
    return multimodal(tokenizer.vocabulary)


def pictures(count, side=16):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def test_errors_do_not_depend_on_the_batch(network, tokenizer):
    seen = [*pictures(2), *pictures(1, side=20)]
    together = errors(network, tokenizer, seen, CAPTIONS, TIMES)
    assert together.shape == (3, 2)
    for number in range(3):
        own = slice(number, number + 1)
        alone = errors(network, tokenizer, seen[own], CAPTIONS[own], TIMES)
        np.testing.assert_allclose(alone[0], together[number], rtol=1e-4)


@torch.no_grad()
def test_errors_by_hand(network, tokenizer, monkeypatch):
    (seen,) = pictures(1)
    noise = torch.ones(2, 3, 16, 16)
    monkeypatch.setattr("tgp_multimodal.inference.denoising._noise", lambda pixels, count: noise)
    found = errors(network, tokenizer, [seen], CAPTIONS[:1], TIMES)[0]
    data = torch.from_numpy(seen).permute(2, 0, 1)[None].float() / 127.5 - 1
    states = network.text(torch.tensor([tokenizer.encode(CAPTIONS[0], bos=True)]))
    for time, value in zip(TIMES, found, strict=True):
        x = (1 - time) * data + time * noise[:1]
        guess = network.head(x, torch.tensor([time]), states)
        assert float((guess - data).square().mean()) == pytest.approx(float(value), rel=1e-4)


def test_captions_are_compared_on_the_same_noise(network, tokenizer):
    seen = pictures(1)
    other = errors(network, tokenizer, seen, ["a red circle"], TIMES)
    again = errors(network, tokenizer, seen, ["a red circle"], TIMES)
    np.testing.assert_array_equal(other, again)
    (score,) = classify(network, tokenizer, seen, ["a dot", "a dot"])
    assert score[0] == pytest.approx(score[1], abs=1e-5)


def test_classifier_finds_the_caption_of_least_error(network, tokenizer, monkeypatch):
    """A head whose error is the distance of the caption's number from the picture's brightness."""
    captions = [str(i) for i in range(9)]
    rows = {tuple(tokenizer.encode(c, bos=True)): i for i, c in enumerate(captions)}
    asked = []

    def keys_values(states):
        return [(states[:, None], states[:, None])]

    def text(token_BL, **_):
        numbers = [rows[tuple(int(t) for t in row if t != tokenizer.pad)] for row in token_BL]
        return torch.tensor(numbers, dtype=torch.float32)[:, None, None].expand(-1, 8, 4)

    def denoise(pixels, time, text, mask):
        asked.append(len(pixels))
        return text[0][0][:, 0, :1, :1, None].expand_as(pixels) / 8  # the caption's number / 8

    monkeypatch.setattr(network.text, "forward", text)
    monkeypatch.setattr(network.head, "text_keys_values", keys_values)
    monkeypatch.setattr(network.head, "denoise", denoise)
    brightness = [np.full((16, 16, 3), round(127.5 * (1 + i / 8)), np.uint8) for i in (0, 3, 8)]
    score_NK = classify(network, tokenizer, brightness, captions, batch=4)
    assert score_NK.argmax(axis=1).tolist() == [0, 3, 8]
    assert np.argsort(-score_NK[1], kind="stable").tolist()[:3] in ([3, 2, 4], [3, 4, 2])
    assert sum(asked) == 3 * 4 * (9 + 5 + 3 + 2)


def test_without_a_caption_nothing_is_told_apart(network, tokenizer):
    with pytest.raises(ValueError, match=r"captions must be at least one\. Got none instead\."):
        classify(network, tokenizer, [np.zeros((16, 16, 3), np.uint8)], [])
