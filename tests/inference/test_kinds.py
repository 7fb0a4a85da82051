"""What a user passes to the Python interface by mistake is refused with one sentence."""

import re

import numpy as np
import pytest
from random_networks import dual_encoder, language_model, multimodal

import tgp_multimodal as tgp
from tgp_multimodal.inference.adapted import Adapted
from tgp_multimodal.inference.model import Model
from tgp_multimodal.inference.task_network import Task, TaskNetwork


@pytest.fixture(scope="module")
def model(tokenizer):
    return Model(multimodal(tokenizer.vocabulary, context=64), tokenizer, "digest")


WHOLE, NUMBER, TEXT = "a whole number", "a number", "a text"
SEVERAL = "a text or a list of texts"
ASK = [{"role": "user", "content": "x"}]
PIXELS = np.zeros((1, 16, 16, 3), np.uint8)
Settings = tgp.Sampling

# The call, and the whole message; a prompt that is refused is refused before anything is read.
REFUSED = [
    (lambda m: tgp.load(3), "folder must be a path, as text or Path. Got 3 instead."),
    (lambda m: tgp.load(None), "folder must be a path, as text or Path. Got None instead."),
    (lambda m: tgp.load_adapted(3), "folder must be a path, as text or Path. Got 3 instead."),
    (lambda m: m.write("a", max_tokens=2.5), f"max_tokens must be {WHOLE}. Got 2.5 instead."),
    (lambda m: m.write("a", max_tokens=32.0), f"max_tokens must be {WHOLE}. Got 32.0 instead."),
    (lambda m: m.write("a", max_tokens=True), f"max_tokens must be {WHOLE}. Got True instead."),
    (lambda m: m.write("a", max_tokens=None), f"max_tokens must be {WHOLE}. Got None instead."),
    (lambda m: m.write("a", temperature="x"), f"temperature must be {NUMBER}. Got 'x' instead."),
    (lambda m: m.write("a", temperature=True), f"temperature must be {NUMBER}. Got True instead."),
    (lambda m: m.write("a", top_p=None), f"top_p must be {NUMBER}. Got None instead."),
    (lambda m: m.write("a", seed="x"), f"seed must be {WHOLE}. Got 'x' instead."),
    (lambda m: m.write("a", top_k=1.5), f"top_k must be {WHOLE}. Got 1.5 instead."),
    (lambda m: m.write("a", stop=3), f"stop must be {SEVERAL}. Got 3 instead."),
    (lambda m: m.write("a", stop=["x", 3]), f"stop must be {SEVERAL}. Got ['x', 3] instead."),
    (lambda m: m.write(["a", "b"]), f"prompt must be {TEXT}. Got ['a', 'b'] instead."),
    (lambda m: m.write(["a"], stop_at_dedent=True), f"prompt must be {TEXT}. Got ['a'] instead."),
    (
        lambda m: m.write(["hello world"]),
        f"prompt must be {TEXT}. Got ['hello world'] instead.",
    ),
    (lambda m: m.fill(3, "b"), f"prefix must be {TEXT}. Got 3 instead."),
    (lambda m: m.fill("a", ["b"]), f"suffix must be {TEXT}. Got ['b'] instead."),
    (lambda m: m.chat(3), "messages must be a list of at least one. Got 3 instead."),
    (lambda m: m.chat(ASK, temperature="x"), f"temperature must be {NUMBER}. Got 'x' instead."),
    (lambda m: m.samples("a", None, 2, {}), "sampling must be a Sampling. Got {} instead."),
    (lambda m: m.samples("a", None, 2.5, Settings()), f"n must be {WHOLE}. Got 2.5 instead."),
    (lambda m: m.samples("a", 3, 2, Settings()), f"suffix must be {TEXT}. Got 3 instead."),
    (
        lambda m: m.samples("a", None, 2, Settings(temperature=-1)),
        "temperature must be at least 0. Got -1 instead.",
    ),
    (
        lambda m: m.samples("a", None, 2, Settings(stop="ab")),
        "stop must be a list of texts. Got the text 'ab' instead.",
    ),
    (
        lambda m: m.samples("a", None, 2, Settings(block="x")),
        "block must be a Block, or None. Got 'x' instead.",
    ),
    (lambda m: next(m.stream("a", None, None)), "sampling must be a Sampling. Got None instead."),
    (lambda m: next(m.stream_chat(ASK, 3)), "sampling must be a Sampling. Got 3 instead."),
    (lambda m: m.unread_tokens(3, None, 8), f"prompt must be {TEXT}. Got 3 instead."),
    (lambda m: m.unread_tokens("a", None, 2.5), f"max_tokens must be {WHOLE}. Got 2.5 instead."),
    (lambda m: m.draw(3), f"prompts must be {SEVERAL}. Got 3 instead."),
    (lambda m: m.draw(["a", 3]), f"prompts must be {SEVERAL}. Got ['a', 3] instead."),
    (lambda m: m.draw("a", steps=2.5), f"steps must be {WHOLE}. Got 2.5 instead."),
    (lambda m: m.draw("a", steps=True), f"steps must be {WHOLE}. Got True instead."),
    (lambda m: m.draw("a", guidance="x"), f"guidance must be {NUMBER}. Got 'x' instead."),
    (
        lambda m: m.draw("a", guidance_from=None),
        f"guidance_from must be {NUMBER}. Got None instead.",
    ),
    (lambda m: m.draw("a", sampler=3), f"sampler must be {TEXT}. Got 3 instead."),
    (
        lambda m: m.draw("a", negative_prompt=None),
        f"negative_prompt must be {TEXT}. Got None instead.",
    ),
    (
        lambda m: m.draw("a", negative_prompt=["x", "y"]),
        f"negative_prompt must be {TEXT}. Got ['x', 'y'] instead.",
    ),
    (
        lambda m: m.draw("a", seed=1.5),
        "seed must be a whole number or a list of whole numbers. Got 1.5 instead.",
    ),
    (
        lambda m: m.draw("a", seed=[1, "x"]),
        "seed must be a whole number or a list of whole numbers. Got [1, 'x'] instead.",
    ),
    (lambda m: m.draw("a", size=True), "size must be a side, or (rows, columns). Got True instead"),
    (
        lambda m: m.draw("a", image=PIXELS[0], strength="x"),
        f"strength must be {NUMBER}. Got 'x' instead.",
    ),
    (lambda m: m.score(["a"], ["b"]), f"context must be {TEXT}. Got ['a'] instead."),
    (lambda m: m.score("a", 3), f"continuation must be {TEXT}. Got 3 instead."),
    (lambda m: m.search("q", ["a"], k=1.5), f"k must be {WHOLE}. Got 1.5 instead."),
    (lambda m: m.search(3, ["a"]), f"query must be {TEXT}. Got 3 instead."),
    (lambda m: m.search("q", ["a", 3]), "documents must be a list of texts. Got ['a', 3] instead."),
    (lambda m: m.similarity(3, PIXELS), "texts must be a list of texts. Got 3 instead."),
    (lambda m: m.classify(PIXELS, [1]), "labels must be a list of texts. Got [1] instead."),
    (lambda m: m.classify(PIXELS, ["a"], 3), f"template must be {TEXT}. Got 3 instead."),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_another_kind_is_refused_with_one_sentence(model, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(model)


def test_numbers_of_numpy_are_numbers(model, tokenizer):
    whole, number = np.int8, np.float32
    plain = model.write("a", 8, 0.5, 0.75, 127, "~", 9, 1.5)
    given = whole(8), number(0.5), number(0.75), whole(127), ("~",), whole(9), number(1.5)
    assert model.write("a", *given) == plain
    sampling = tgp.Sampling(*(given[i] for i in (0, 1, 2, 4, 3, 5, 6)))
    assert len(model.samples("a", None, whole(2), sampling)) == 2
    assert model.samples("a", None, 2, sampling)[0] == plain
    assert model.unread_tokens("a", None, whole(8)) == 0
    assert len(model.search("a", np.array(["a", "b"]), k=whole(1))) == 1
    (one,) = model.draw("a", 2, 2.0, 127, 16, guidance_to=0.5, image=PIXELS[0], strength=0.5)
    (other,) = model.draw(
        np.array(["a"]), whole(2), number(2), whole(127), whole(16),
        guidance_to=number(0.5), image=PIXELS[0], strength=number(0.5),
    )  # fmt: skip
    assert np.array_equal(np.asarray(one), np.asarray(other))
    assert len(model.draw(["a", "b"], whole(2), seed=whole(127))) == 2


def test_labels_may_be_an_array(tokenizer):
    model = Model(dual_encoder(tokenizer.vocabulary), tokenizer, "digest")
    assert model.classify(PIXELS, np.array(["a"])) == ["a"]


def task(kind, reads):
    return Task(kind, reads, ("no", "yes"))


@pytest.mark.parametrize(
    ("kind", "reads", "items", "message"),
    [
        ("classification", "text", "abc", "items must be a list of texts. Got 'abc' instead."),
        ("classification", "text", 3, "items must be a list of texts. Got 3 instead."),
        ("classification", "pair", "ab", "items must be a list of pairs of texts. Got 'ab' inst"),
        ("classification", "pair", [3], "items must be pairs of texts. Got 3 instead."),
        ("tagging", "words", "a b", "items must be a list of texts or lists of words. Got 'a b'"),
        ("tagging", "words", [3], "items must be texts or lists of words. Got 3 instead."),
        ("classification", "picture", "ab", "items must be a list of pictures. Got 'ab' instead."),
        ("classification", "picture", PIXELS[0], "pictures must be a list of pictures, or an arr"),
    ],
)
def test_one_item_is_no_list_of_items(tokenizer, kind, reads, items, message):
    network = multimodal if reads == "picture" else language_model
    adapted = Adapted(
        TaskNetwork(network(tokenizer.vocabulary), task(kind, reads)).eval(), tokenizer
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        adapted.predict(items)
