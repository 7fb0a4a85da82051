"""JSON lines in, JSON lines out."""

import json

import pytest
from random_networks import language_model

from tgp_multimodal.inference.line_protocol import answers
from tgp_multimodal.inference.model import Model
from tgp_multimodal.inference.sampling import Sampling

DEFAULT = Sampling(6, 0.9, seed=2)


@pytest.fixture(scope="module")
def model(tokenizer):
    return Model(language_model(tokenizer.vocabulary), tokenizer, "digest")


def ask(model, *requests, stop_at_dedent=False):
    lines = [r if isinstance(r, str) else json.dumps(r) for r in requests]
    found = list(answers(model, lines, DEFAULT, stop_at_dedent))
    assert not any("\n" in line for line in found)
    return [json.loads(line) for line in found]


def test_answers_are_those_of_the_model(model):
    prefix, suffix = "def f(é):\n", "return x"
    given = {"max_tokens": 9, "temperature": 1, "seed": 7, "top_k": 20, "stop": "zz", "n": 3}
    own = Sampling(9, 1.0, 1.0, ("zz",), 7, 20)
    first, second, third = ask(
        model,
        {"prefix": prefix, "suffix": suffix, "id": "a"},
        "   ",
        {"prefix": prefix, "id": 4},
        {"prefix": prefix, "suffix": suffix, **given},
    )
    assert first == {"id": "a", "texts": model.samples(prefix, suffix, 1, DEFAULT)}
    assert second == {"id": 4, "texts": model.samples(prefix, None, 1, DEFAULT)}
    assert third == {"id": None, "texts": model.samples(prefix, suffix, 3, own)}


def test_the_number_of_samples_is_that_of_the_command_unless_a_request_says_it(model):
    lines = [json.dumps({"prefix": "def f"}), json.dumps({"prefix": "def f", "n": 2})]
    found = [json.loads(line) for line in answers(model, lines, DEFAULT, False, 3)]
    assert [len(one["texts"]) for one in found] == [3, 2]
    assert found[0]["texts"] == model.samples("def f", None, 3, DEFAULT)


def test_lines_end_as_those_of_the_request(model, monkeypatch):
    asked, stops = [], []

    def samples(self, prefix, suffix, n, sampling):
        asked.append((prefix, suffix))
        stops.append(sampling.stop)
        return ["a\nb\r\nc"]

    monkeypatch.setattr(Model, "samples", samples)
    dos, unix = ask(
        model, {"prefix": "x\r\n", "suffix": "y\r", "stop": ["\r\n\r\n", "z"]}, {"prefix": "x\n"}
    )
    assert stops == [("\n\n", "z"), ()]
    assert asked == [("x\n", "y\n"), ("x\n", None)]
    assert (dos["texts"], unix["texts"]) == (["a\r\nb\r\nc"], ["a\nb\nc"])


def test_a_request_may_end_with_its_function(model):
    request = {"prefix": "def f():\n", "max_tokens": 20, "n": 5}
    free, bound = ask(model, request, {**request, "stop_at_dedent": True})
    (default,) = ask(model, request, stop_at_dedent=True)
    assert bound == default
    for whole, cut in zip(free["texts"], bound["texts"], strict=True):
        assert whole.startswith(cut)
    assert free != bound


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("{", "request must be one line of JSON. Got "),
        ("[1]", "request must be an object. Got list instead."),
        ({"id": 1}, "prefix must be given. Got nothing instead."),
        ({"id": 1, "prefix": 3}, "prefix must be str. Got 3 instead."),
        ({"id": 1, "prefix": "a", "n": True}, "n must be int. Got True instead."),
        ({"id": 1, "prefix": "a", "n": 257}, "n must be at most 256. Got 257 instead."),
        ({"id": 1, "prefix": "a", "n": 0}, "n must be at least 1. Got 0 instead."),
        ({"id": 1, "prefix": "a", "sufix": ""}, "key must be one that exists. Got sufix instead;"),
        ({"id": 1, "prefix": "a", "stop": [1]}, "stop must hold strings. Got [1] instead."),
        ({"id": 1, "prefix": "a", "top_p": 2}, "top_p must be above 0 and at most 1. Got 2 in"),
        ({"id": 1, "prefix": "a", "max_tokens": 99}, "max_tokens must be between 1 and 56 (the"),
        ({"id": 1, "prefix": "\ud800"}, "text must be valid Unicode."),
        ({"id": 1, "prefix": "a", "temperature": 10**400}, "temperature must be 0, or between "),
        ("[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_a_mistake_is_an_answer_and_the_next_request_is_heard(model, request_, message):
    first, second = ask(model, request_, {"prefix": "a", "id": 2})
    assert first["error"].startswith(message)
    assert first["id"] == (1 if isinstance(request_, dict) else None)
    assert set(first) == {"id", "error"}
    assert second == {"id": 2, "texts": model.samples("a", None, 1, DEFAULT)}
