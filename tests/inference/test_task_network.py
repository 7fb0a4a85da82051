"""What a task network reads: the features of the probes, whatever the company of an item."""

import numpy as np
import pytest
import torch
from random_networks import language_model, multimodal, randomise

from tgp_multimodal.inference import picture_features, text
from tgp_multimodal.inference.task_network import Task, TaskNetwork, encode, outputs
from tgp_multimodal.inference.text_features import features_of_layers
from tgp_multimodal.inference.word_states import word_states

LABELS = ("a", "b", "c")


def network(tokenizer, task, picture=False):
    base = (multimodal if picture else language_model)(tokenizer.vocabulary)
    made = TaskNetwork(base, task)
    randomise(made.head, 5)
    made.head.mean.normal_()
    made.head.scale.uniform_(0.5, 2)
    return made.eval()


def told(made, tokenizer, items, **how):
    return outputs(made, tokenizer, encode(tokenizer, items, made.task), **how)


def test_texts_are_read_as_probes_read_them(tokenizer, corpus):
    made = network(tokenizer, Task("classification", "text", LABELS, length=64))
    found = np.concatenate(told(made, tokenizer, corpus, is_features=True))
    expected = text.embed(made.network.text, tokenizer, corpus)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_all_layers_of_texts_are_read_as_probes_read_them(tokenizer, corpus, causal):
    task = Task("classification", "text", LABELS, length=64, states="layers", causal=causal)
    made = network(tokenizer, task)
    found = np.concatenate(told(made, tokenizer, corpus, is_features=True))
    expected = features_of_layers(made.network.text, tokenizer, corpus, causal)
    assert found.shape[1] == (made.network.text.depth + 1) * made.network.text.width
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_all_layers_of_words_are_what_taggers_read(tokenizer, corpus):
    sentences = [line.split() for line in corpus]
    made = network(tokenizer, Task("tagging", "words", LABELS, length=64, states="layers"))
    found = told(made, tokenizer, sentences, is_features=True)
    expected = word_states(made.network.text, tokenizer, sentences)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_words_are_the_last_part_of_what_taggers_read(tokenizer, corpus):
    sentences = [line.split() for line in corpus]
    task = Task("tagging", "words", LABELS, length=64)
    made = network(tokenizer, task)
    found = told(made, tokenizer, sentences, is_features=True)
    expected = word_states(made.network.text, tokenizer, sentences)
    assert any(len(e) < len(s) for e, s in zip(expected, sentences, strict=True)) is False
    gain_D = made.network.text.norm.weight.detach().numpy()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other[:, -len(gain_D) :] * gain_D, atol=2e-5)


def test_the_last_token_of_a_word(tokenizer):
    words = ["tokenization", "of", "words", "in", "1912"]
    made = network(tokenizer, Task("tagging", "words", LABELS, words="last"))
    (found,) = told(made, tokenizer, [words], is_features=True)
    (ids, spans), *_ = tokenizer.encode_words([words])
    with torch.inference_mode():
        state_LD = made.network.text(torch.tensor([[tokenizer.bos, *ids]]), None, False)[0]
    ends = [end for _, end in spans]  # BOS is in front
    np.testing.assert_allclose(found, state_LD[torch.tensor(ends)].numpy(), atol=2e-5)


def test_pairs_apart_and_joint(tokenizer, corpus):
    pairs = list(zip(corpus[:5], corpus[5:10], strict=True))
    made = network(tokenizer, Task("classification", "pair", LABELS, length=64))
    found = np.concatenate(told(made, tokenizer, pairs, is_features=True))
    u, v = (text.embed(made.network.text, tokenizer, [p[i] for p in pairs]) for i in (0, 1))
    np.testing.assert_allclose(found, np.hstack([u, v, abs(u - v), u * v]), atol=5e-5)
    task = Task("classification", "pair", LABELS, length=12, pairs="joint")
    for first, second, kept in [
        ("a" * 30, "b", (9, 1)),
        ("a", "b" * 30, (1, 9)),
        ("a" * 9, "b" * 9, (5, 5)),
    ]:
        ((row,), *_), *_ = encode(_Letters(), [(first, second)], task)
        assert row == ["bos", *"a" * kept[0], "eos", *"b" * kept[1]]


class _Letters:
    """A tokenizer whose ids are letters."""

    bos, eos = "bos", "eos"

    def encode_batch(self, texts):
        return [list(t) for t in texts]


@pytest.mark.parametrize(("grid", "units"), [(2, True), (4, True), (2, False)])
def test_pictures_are_read_as_probes_read_them(tokenizer, grid, units):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    view = picture_features.View(2, 0.05, grid, units)
    task = Task("classification", "picture", LABELS, **view._asdict())
    made = network(tokenizer, task, True)
    found = np.concatenate(told(made, tokenizer, pictures, is_features=True))
    expected = picture_features.features(made.network, tokenizer, pictures, view)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_task_that_does_not_say_reads_the_stream(tokenizer):
    task = Task("classification", "picture", LABELS, block=2)  # as written before there were units
    made = network(tokenizer, task, True)
    assert made.head.linear.in_features == 5 * made.network.head.width


@pytest.mark.parametrize(
    ("reads", "states"),
    [
        ("text", "last"),
        ("pair", "last"),
        ("words", "last"),
        ("text", "layers"),
        ("words", "layers"),
    ],
)
def test_no_answer_depends_on_its_company(tokenizer, corpus, reads, states):
    items = {
        "text": corpus,
        "pair": list(zip(corpus, corpus[::-1], strict=True)),
        "words": [line.split() for line in corpus],
    }[reads]
    kind = "tagging" if reads == "words" else "classification"
    made = network(tokenizer, Task(kind, reads, LABELS, length=48, states=states))
    together = told(made, tokenizer, items)
    for item, expected in zip(items[:6], together, strict=False):
        (alone,) = told(made, tokenizer, [item])
        np.testing.assert_allclose(alone, expected, atol=1e-4)
    few = told(made, tokenizer, items, batch_tokens=60)
    for one, other in zip(few, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_folded_map_is_the_same_map(tokenizer):
    made = network(tokenizer, Task("classification", "text", LABELS))
    x = torch.randn(7, made.network.text.width)
    folded = made.head.folded()
    expected = made.head(x)
    torch.testing.assert_close(x @ folded["weight"].T + folded["bias"], expected, atol=1e-5, rtol=0)


def test_the_map_lies_where_the_network_does(tokenizer):
    base = language_model(tokenizer.vocabulary).to("meta")
    assert TaskNetwork(base, Task("classification", "text", LABELS)).device.type == "meta"


def test_pictures_need_a_diffusion_head(tokenizer):
    with pytest.raises(ValueError, match="model must have a diffusion head to be adapted to pict"):
        network(tokenizer, Task("classification", "picture", LABELS))
