"""What is refused, with which status and which sentence."""

import http.client
import json
from urllib.parse import urlsplit

import openai
import pytest
from random_networks import language_model
from servers import NAME, serving, tiny_model

from tgp_multimodal.inference.model import Model
from tgp_multimodal.serving import gate, server

TOKEN = "a-token-of-enough-characters"


@pytest.fixture(scope="module")
def running(tokenizer):
    limits = {"body": 5000, "inputs": 3, "rows": 8, "named": 9999, "patches": 30}
    with serving(tiny_model(tokenizer), **limits) as found:
        yield found


@pytest.fixture(scope="module")
def locked(tokenizer):
    with serving(tiny_model(tokenizer, chat=False), TOKEN) as found:
        yield found


COMPLETION = {
    "n": ({"n": 0}, 400, "n must be between 1 and 32. Got 0 instead."),
    "rows": ({"prompt": ["a"] * 3, "n": 3}, 400, "prompts times n must be between 1 and 8. Got 9"),
    "prompts": ({"prompt": ["a"] * 4}, 400, "prompts must be between 1 and 3. Got 4 instead."),
    "none": ({"prompt": []}, 400, "prompt must hold at least one text. Got none instead."),
    "max_tokens": ({"max_tokens": 97}, 400, "max_tokens must be between 1 and 96. Got 97 instead."),
    "zero": ({"max_tokens": 0}, 400, "max_tokens must be between 1 and 96. Got 0 instead."),
    "long": (
        {"prompt": "x" * 90},
        400,
        "prompt and max_tokens must be at most 96 tokens (the context) together. Got 91 and 16",
    ),
    "long gap": (
        {"prompt": "x" * 40, "suffix": "x" * 40},
        400,
        "prompt and max_tokens must be at most 96 tokens (the context) together. Got 84 and 16",
    ),
    "id": ({"prompt": [1, 320]}, 400, "token of prompt must be between 0 and 319. Got 320 instead"),
    "temperature": ({"temperature": -1}, 400, "temperature must be at least 0. Got -1.0 instead."),
    "top_p": ({"top_p": 0}, 400, "top_p must be above 0 and at most 1. Got 0.0 instead."),
    "stop": ({"stop": ""}, 400, "stop must hold no empty string."),
    "seed": ({"seed": 2**63}, 400, "seed must be between -4611686018427387904 and"),
    "logprobs": ({"logprobs": 21}, 400, "logprobs must be between 0 and 20. Got 21 instead."),
    "stream": ({"logprobs": 1, "stream": True}, 400, "stream must be off for logprobs."),
    "echo": ({"echo": True, "suffix": "a"}, 400, "echo must be off for a suffix. Got both"),
    "kind": ({"prompt": 3}, 422, "prompt must be a valid string. Got 3 instead."),
    "flag": ({"max_tokens": True}, 422, "max_tokens must be a valid integer. Got True instead."),
    "text": ({"temperature": "hot"}, 422, "temperature must be a valid number. Got 'hot' instead."),
    "unknown": ({"extra_body": {"tempratur": 1}}, 422, "tempratur must not be given: there is no"),
    "penalty": ({"presence_penalty": 0.5}, 422, "presence_penalty must be less than or equal to 0"),
    "dedent": (
        {"extra_body": {"stop_at_dedent": 3}},
        422,
        "stop_at_dedent must be a valid boolean",
    ),
    "named": (
        {"echo": True, "prompt": ["x" * 60] * 2, "n": 4, "logprobs": 20, "max_tokens": 30},
        400,
        "log-probabilities of all tokens must be between 0 and 9999. Got 15288 instead.",
    ),
    "best_of": ({"best_of": 2}, 422, "best_of must be less than or equal to 1. Got 2 instead."),
    "model": ({"model": "gpt"}, 404, "model must be tiny. Got gpt instead."),
    "body": ({"prompt": "x" * 5000}, 413, "body must be at most 5000 bytes. Got 50"),
    "large body": ({"prompt": "x" * 5_000_000}, 413, "body must be at most 5000 bytes. Got 50"),
}


@pytest.mark.parametrize("name", COMPLETION)
def test_completions_that_are_refused(running, name):
    changed, status, message = COMPLETION[name]
    settings = {"model": NAME, "prompt": "a", **changed}
    with pytest.raises(openai.APIStatusError) as caught:
        running.client.completions.create(**settings)
    assert caught.value.status_code == status
    assert caught.value.body["message"].startswith(message)
    assert caught.value.body["type"] == "invalid_request_error"
    assert running.client.completions.create(model=NAME, prompt="a").choices


def test_programs_can_read_what_is_wrong(running):
    with pytest.raises(openai.BadRequestError) as caught:
        running.client.completions.create(model=NAME, prompt="x" * 99)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    with pytest.raises(openai.BadRequestError) as caught:
        running.client.completions.create(model=NAME, prompt="x", max_tokens=97)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "max_tokens")
    with pytest.raises(openai.BadRequestError) as caught:
        running.client.completions.create(model=NAME, prompt=[1, 320])
    assert caught.value.param == "prompt"
    with pytest.raises(openai.NotFoundError) as caught:
        running.client.models.retrieve("gpt")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


BOTH = {"max_tokens": 5, "max_completion_tokens": 2}
OTHERS = [
    ("embeddings", {"input": "x" * 99}, 400, "input must be at most 96 tokens (the context). Got"),
    ("embeddings", {"input": []}, 400, "input must hold at least one text. Got none instead."),
    ("embeddings", {"input": "a", "dimensions": 9}, 400, "dimensions must be 64. Got 9 instead."),
    ("embeddings", {"input": "a", "encoding_format": "x"}, 422, "encoding_format must be 'float'"),
    ("images/generations", {"prompt": "x" * 64}, 400, "prompt must be at most 64 tokens. Got more"),
    ("images/generations", {"prompt": "a", "negative_prompt": "x" * 64}, 400, "negative_pro"),
    ("images/generations", {"prompt": "a", "size": "16x9"}, 400, "size must have sides that are"),
    ("images/generations", {"prompt": "a", "size": "big"}, 400, "size must be WIDTHxHEIGHT or"),
    ("images/generations", {"prompt": "a", "size": "16x999"}, 400, "side of size must be between"),
    ("images/generations", {"prompt": "a", "size": "64x64"}, 400, "patches of size must be"),
    ("images/generations", {"prompt": "a", "n": 17}, 400, "n must be between 1 and 16. Got 17"),
    ("images/generations", {"prompt": "a", "steps": 0}, 400, "steps must be between 1 and 100."),
    ("images/generations", {"prompt": "a", "sampler": "x"}, 400, "sampler must be one that"),
    ("images/generations", {"prompt": "a", "response_format": "url"}, 422, "response_format must"),
    ("chat/completions", {"messages": []}, 400, "messages must be a list of at least one. Got []"),
    (
        "chat/completions",
        {"messages": [{"role": "tool", "content": "a"}]},
        400,
        "role of a message must be one of system, user, assistant. Got 'tool' instead.",
    ),
    (
        "chat/completions",
        {"messages": [{"role": "user", "content": "x" * 99}]},
        400,
        "messages and max_tokens must be at most 96 tokens (the context) together. Got 1",
    ),
    (
        "chat/completions",
        {"messages": [{"role": "user", "content": "x"}], **BOTH},
        400,
        "max_tokens must be max_completion_tokens where both are given. Got 5 and 2 instead.",
    ),
    ("chat/completions", {"messages": [{"role": "user"}]}, 422, "messages.0.content must be given"),
    ("completions", {"prompt": "a", "stop": ["\ud83d"]}, 422, "body must be text of Unicode"),
    ("completions", {"prompt": "a", "model": "\ud83d"}, 422, "body must be text of Unicode"),
    ("images/generations", {"prompt": "a", "size": "\ud83d"}, 422, "body must be text of Unic"),
    ("completions", {"prompt": "a", "seed": 2**62, "n": 2}, 400, "seed must be between"),
    ("completions", "[", 400, "body must be JSON. Got this instead:"),
    ("completions", "", 422, "body must be given. Got nothing instead."),
    ("nothing", {}, 404, "Not Found."),
    ("models", {}, 405, "Method Not Allowed."),
]  # fmt: skip


def posted(address, path, content, headers):
    """Status, headers and JSON of the answer."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    body = content if isinstance(content, str) else json.dumps({"model": NAME, **content})
    try:
        connection.request("POST", f"/v1/{path}", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(("path", "content", "status", "message"), OTHERS, ids=str)
def test_other_requests_that_are_refused(running, path, content, status, message):
    found, _, body = posted(running.address, path, content, JSON)
    assert found == status
    assert body["error"]["message"].startswith(message)
    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_bodies_that_do_not_say_that_they_are_json_are_refused(running):
    """A page of another site can send such a one without asking."""
    for headers in ({}, {"Content-Type": "text/plain"}):
        assert posted(running.address, "completions", {"prompt": "a"}, headers)[0] == 415


def test_a_body_that_hides_its_length_is_cut_off(running):
    place = urlsplit(running.address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    pieces = (b"x" * 1000 for _ in range(9))
    try:
        connection.request("POST", "/v1/completions", pieces, JSON, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        message = json.loads(answer.read())["error"]["message"]
        assert message == "body must be at most 5000 bytes. Got 9000 instead."
    finally:
        connection.close()


def test_an_endless_body_is_not_read_to_its_end(running, monkeypatch):
    monkeypatch.setattr(gate, "_DROPPED", 20_000)
    sent = []
    endless = (sent.append(i) or b"x" * 1000 for i in range(100_000))
    for body in (b"x" * 30_000, endless):
        place = urlsplit(running.address)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
        try:  # whether the answer is read before the line is cut is a race
            connection.request("POST", "/v1/completions", body, JSON, encode_chunked=True)
            assert connection.getresponse().status == 413
        except OSError:
            pass
        finally:
            connection.close()
    assert 5 < len(sent) < 50_000  # what the buffers between them hold
    assert running.client.completions.create(model=NAME, prompt="a").choices


def test_other_names_of_this_machine_are_refused(running):
    for host, status in (
        ("evil.example", 403),
        ("[::1", 403),
        ("localhost:1", 200),
        ("[::1]:80", 200),
    ):
        headers = {**JSON, "Host": host}
        assert posted(running.address, "completions", {"prompt": "a"}, headers)[0] == status


def test_a_token_is_asked_for(locked):
    assert locked.client.completions.create(model=NAME, prompt="a").choices
    for key in ("another-token-of-enough-letters", "", "none", TOKEN[:-1], f"{TOKEN}é"):
        headers = {**JSON, "Authorization": f"Bearer {key}".encode()}
        status, answered, body = posted(locked.address, "completions", {"prompt": "a"}, headers)
        assert status == 401
        assert answered["WWW-Authenticate"] == "Bearer"
        assert body["error"]["code"] == "invalid_api_key"
        assert TOKEN not in json.dumps(body)
    with pytest.raises(openai.AuthenticationError, match="token must be that of the server"):
        locked.client.with_options(api_key="wrong").models.list()
    headers = {**JSON, "Host": "any.example", "Authorization": f"Bearer {TOKEN}"}
    assert posted(locked.address, "completions", {"prompt": "a"}, headers)[0] == 200


def test_what_the_model_has_not(locked, tokenizer):
    with pytest.raises(openai.BadRequestError, match="model must have a chat template"):
        locked.client.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": "a"}]
        )
    model = Model(language_model(tokenizer.vocabulary), tokenizer, "d" * 64)
    with (
        serving(model) as blind,
        pytest.raises(openai.BadRequestError, match="model must have a diffusion head"),
    ):
        blind.client.images.generate(model=NAME, prompt="a")


@pytest.mark.parametrize(
    ("host", "token", "message"),
    [
        ("0.0.0.0", None, r"host must be this machine \(127\.0\.0\.1\) unless a token is given"),
        ("example.com", None, "host must be this machine"),
        ("127.0.0.1", "short", r"token must have at least 16 characters\. Got 5 instead\."),
        ("127.0.0.1:x", TOKEN, "host and port must be free to listen at"),
    ],
)
def test_places_where_no_server_listens(host, token, message):
    with pytest.raises(ValueError, match=message):
        server.listen_at(host, 0, token)


def test_a_place_that_is_taken():
    taken = r"must be free to listen at"
    with server.listen_at("localhost", 0, None) as first, pytest.raises(ValueError, match=taken):
        server.listen_at("127.0.0.1", first.getsockname()[1], None)
    server.listen_at("0.0.0.0", 0, TOKEN).close()
