"""Models behind a server: the native numbers, cuts, refusals, and a server that stumbles."""

import http.client
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from servers import NAME, serving, tiny_model

from tgp_multimodal import export
from tgp_multimodal.adapters import make, openai_server
from tgp_multimodal.adapters.native import Native
from tgp_multimodal.adapters.openai_server import RefusedError, Server
from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.requests import Embed, Generate, Perplexity, Score

HALF = '{"half'  # of an answer whose connection breaks
TOKEN = "a-token-of-enough-characters"
TEXTS = ["The river froze.", "", "def add(a, b):\n    return a + b", "Naïve café, 東京 \U0001f468"]


@pytest.fixture(scope="module")
def pair(tokenizer, tmp_path_factory):
    """The same network behind a server and in a folder."""
    model = tiny_model(tokenizer)
    folder = tmp_path_factory.mktemp("exports") / "export"
    export.save(folder, model.network, model.tokenizer, {}, "")
    with serving(model, TOKEN, inputs=32) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", TOKEN)
        yield make(f"openai:{running.address}#{NAME}"), Native(folder)


def test_scores_are_those_of_the_native_adapter(pair):
    served, native = pair
    contexts = ["The river", "", "a set holds ", "def f(x):\n", "Question: 東京?\nAnswer:"]
    requests = [Score(c, e) for c in contexts for e in (" froze", " no", " 1 2", "\n    return x")]
    requests = requests * 3  # more than one request of the server
    for one, two in zip(served.answer(requests), native.answer(requests), strict=True):
        assert one.nats == pytest.approx(two.nats, abs=1e-4)
        assert (one.tokens, one.is_greedy) == (two.tokens, two.is_greedy)
    greedy = native.answer([Generate("a set", 2)])[0]
    requests = [Score("a set", greedy), Score("a set", greedy[:-1] + "x")]
    for adapter in pair:
        assert [a.is_greedy for a in adapter.answer(requests)] == [True, False]


def test_a_server_that_counts_its_bos_into_the_text_gives_the_same_scores(pair, monkeypatch):
    """As vLLM does: offsets are sums of the lengths of all tokens, that of BOS among them."""
    served, native = pair
    ask, bos = served.server.ask, "<|begin_of_text|>"

    def counting(path, content):
        answer = ask(path, content)
        for choice in answer["choices"] if content.get("echo") else []:
            table = choice["logprobs"]
            assert bos not in table["tokens"]
            table["tokens"] = [bos, *table["tokens"]]
            table["text_offset"] = [0, *(start + len(bos) for start in table["text_offset"])]
            table["token_logprobs"] = [None, *table["token_logprobs"]]
            table["top_logprobs"] = [None, *table["top_logprobs"]]
        return answer

    monkeypatch.setattr(served.server, "ask", counting)
    requests = [Score("Question: where is the cat?\nAnswer:", e) for e in (" yes", " no", " it")]
    for one, two in zip(served.answer(requests), native.answer(requests), strict=True):
        assert one.nats == pytest.approx(two.nats, abs=1e-4)
        assert (one.tokens, one.is_greedy) == (two.tokens, two.is_greedy)


def test_scores_behind_texts_that_are_composed_are_the_native_ones(pair):
    served, native = pair
    requests = [Score("e\u0301 the" * 5, " bridge"), Score("\u09df the" * 2, " stood")]
    for one, two in zip(served.answer(requests), native.answer(requests), strict=True):
        assert one.nats == pytest.approx(two.nats, abs=1e-4)
        assert one.tokens == two.tokens


def test_other_answers_are_those_of_the_native_adapter(pair):
    served, native = pair
    requests = [Perplexity(t) for t in TEXTS]
    for one, two in zip(served.answer(requests), native.answer(requests), strict=True):
        assert one.nats == pytest.approx(two.nats, abs=1e-4)
        assert (one.bytes, one.tokens) == (two.bytes, two.tokens)
    requests = [Embed(t) for t in TEXTS]
    vectors = zip(served.answer(requests), native.answer(requests), strict=True)
    for one, two in vectors:
        np.testing.assert_allclose(one, two, atol=1e-5)
    requests = [Generate(t, 9, ("e",)) for t in TEXTS] + [Generate("def f(", 9, (), "return x")]
    assert served.answer(requests) == native.answer(requests)


def test_samples_are_drawn_as_the_request_says(pair):
    served, native = pair
    requests = [Generate("The river", 9, temperature=0.9, top_p=0.95, seed=s) for s in range(6)]
    found = served.answer(requests)
    assert found == native.answer(requests)
    assert len(set(found)) > 1


def test_texts_that_are_too_long_are_cut(pair):
    served, native = pair
    long = "The old bridge was built of stone. " * 12
    (one,) = served.answer([Score(long, " yes")])
    (two,) = native.answer([Score(long, " yes")])
    assert one.tokens == two.tokens
    assert one.nats == pytest.approx(two.nats, rel=0.1)  # some characters less of the context
    (one,) = served.answer([Perplexity(long)])
    (two,) = native.answer([Perplexity(long)])
    assert one.tokens == pytest.approx(two.tokens, rel=0.1)
    assert one.nats == pytest.approx(two.nats, rel=0.1)
    assert served.answer([Embed(long)])[0].shape == (64,)
    assert served.answer([Generate(long, 5), Generate(long, 5, (), long)]) != ["", ""]
    mixed = [Score("a", " b"), Score(long, " yes")]
    assert served.answer(mixed)[0].nats == pytest.approx(native.answer(mixed)[0].nats, abs=1e-4)
    # Of one context, whole before a short continuation and cut before a long one.
    context, rest = "The old bridge was built of ston", "e and of wood. " * 5
    short, longer = served.answer([Score(context, "e"), Score(context, rest)])
    alone = served.answer([Score(context, rest)])[0]
    assert (longer.tokens, longer.nats) == (alone.tokens, pytest.approx(alone.nats))
    assert short.tokens == native.answer([Score(context, "e")])[0].tokens
    with pytest.raises(RefusedError, match="prompt must be at most 96 tokens"):
        served.answer([Score("", long)])


def test_what_it_cannot_do_is_known_at_once(pair):
    served, _ = pair
    for card in map(cards.find, cards.names()):
        reason = served.can(card)
        fills = "suffix" in (*card.columns, *card.templates)
        if fills and Score in card.requests:
            assert reason == "cannot score what fills a gap"
        elif reason is None:
            assert card.requests <= {Score, Perplexity, Generate, Embed}


def test_the_only_model_needs_no_name(pair, monkeypatch):
    served, native = pair
    address = served.server.address
    assert make(f"openai:{address}").facts()["digest"] == served.facts()["digest"]
    assert served.facts()["weights"] != native.facts()["digest"]
    assert served.facts()["context"] == 96
    later = make(f"openai:{address}")
    for one, asked in ((served, 1), (later, 2)):  # vLLM gives the time of the question
        monkeypatch.setattr(one, "entry", {"id": "t", "created": asked, "root": "org/model"})
    assert served.facts()["digest"] == later.facts()["digest"]
    monkeypatch.setattr(later, "entry", {"id": "t", "created": 2, "root": "org/other"})
    assert served.facts()["digest"] != later.facts()["digest"]
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"must be one that the server has\. Got gpt instead; .*t"):
        make(f"openai:{address}#gpt")
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    with pytest.raises(ValueError, match=r"models must be answered\. Got 401 instead: token must"):
        make(f"openai:{address}")


@pytest.fixture
def stumbling():
    """A server that answers a list of (status, body) one after the other, and keeps what it got.

    The body of a redirect is its Location.
    """
    answers, asked = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("Content-Length", 0))
            asked.append(json.loads(self.rfile.read(length) or "null"))
            status, content = answers.pop(0)
            if status is None:  # hangs up
                return
            self.send_response(status)
            self.send_header("Retry-After", "3")
            if 300 <= status < 400:
                self.send_header("Location", content)
            if content == HALF:
                self.send_header("Content-Length", "99")
            self.end_headers()
            self.wfile.write(content.encode())

        do_GET = do_POST

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers, asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_asks_again_where_that_helps(stumbling):
    address, answers, asked = stumbling
    pauses = []
    server = Server(address, None, pauses.append)
    answers += [
        (503, "{}"),
        (None, ""),
        (200, "no JSON"),
        (429, "x"),
        (200, HALF),
        (200, '{"a": 1}'),
    ]
    assert server.ask("completions", {"n": 1}) == {"a": 1}
    assert asked == [{"n": 1}] * 6
    assert pauses == [3, 6, 12, 24, 30]


def test_it_gives_up_where_that_does_not(stumbling):
    address, answers, asked = stumbling
    server = Server(address, None, lambda _: None)
    answers += [(400, '{"error": {"message": "no", "code": "context_length_exceeded"}}')]
    with pytest.raises(RefusedError, match=r"x must be answered\. Got 400 instead: no") as found:
        server.ask("x", {})
    assert found.value.is_too_long
    answers += [(500, "broken")] * openai_server._TRIES
    with pytest.raises(RefusedError, match=r"Got 500 instead: broken") as found:
        server.ask("x", {})
    assert not found.value.is_too_long
    assert len(asked) == 1 + openai_server._TRIES
    with pytest.raises(RefusedError, match=r"server must answer at http://127\.0\.0\.1:9"):
        Server("http://127.0.0.1:9", None, lambda _: None).ask("x")


@pytest.mark.parametrize(
    "error", [http.client.IncompleteRead(b"{"), http.client.BadStatusLine("x")]
)
def test_an_answer_that_is_none_is_asked_for_again(monkeypatch, error):
    tries = []

    def fail(*given, **_):
        tries.append(given)
        raise error

    monkeypatch.setattr("urllib.request.OpenerDirector.open", fail)
    with pytest.raises(RefusedError, match=r"server must answer at http://a\. Got"):
        Server("http://a", None, lambda _: None).ask("x")
    assert len(tries) == openai_server._TRIES


@pytest.mark.parametrize(
    ("answer", "is_transient"),
    [
        ((429, "quota"), True),
        ((503, ""), True),
        ((None, ""), True),
        ((200, HALF), True),
        ((200, "no JSON"), False),
        ((500, "no echo"), False),
        ((404, "none"), False),
    ],
)
def test_what_may_be_answered_another_day_is_told_apart(stumbling, answer, is_transient):
    address, answers, _ = stumbling
    answers += [answer] * openai_server._TRIES
    with pytest.raises(RefusedError) as found:
        Server(address, None, lambda _: None).ask("x", {})
    assert found.value.is_transient == is_transient


def offering(monkeypatch, **errors: RefusedError) -> None:
    """A server of one model that writes and embeds, and refuses by what is asked of it."""

    def ask(_, path, content=None):
        kind = "echo" if "echo" in (content or {}) else path
        if kind in errors:
            raise errors[kind]
        return {
            "models": {"data": [{"id": "m"}]},
            "completions": {"choices": [{"text": ""}]},
            "embeddings": {"data": [{"index": 0, "embedding": [1.0]}]},
        }[path]

    monkeypatch.setattr(Server, "ask", ask)


def test_a_server_that_is_busy_is_no_server_that_cannot(monkeypatch):
    plain = RefusedError("no echo here")
    offering(monkeypatch, echo=plain)
    assert make("openai:http://here/v1").supports == {Generate, Embed}
    offering(monkeypatch, echo=plain, completions=plain)
    assert make("openai:http://here/v1").supports == {Embed}
    for kind in ("echo", "completions", "embeddings"):
        offering(monkeypatch, **{kind: RefusedError("no quota", is_transient=True)})
        with pytest.raises(RefusedError, match="no quota"):
            make("openai:http://here/v1")
    offering(monkeypatch, echo=plain, completions=plain, embeddings=plain)
    with pytest.raises(ValueError, match=r"openai model must write, score or embed\. Got m"):
        make("openai:http://here/v1")


@pytest.mark.parametrize("first", [None, -2.0])
def test_whether_the_first_token_counts_is_a_fact(monkeypatch, first):
    table = {"text_offset": [0, 1], "token_logprobs": [first, -1.0]}
    choice = {"index": 0, "text": "a b", "logprobs": table}

    def ask(_, path, content=None):
        return {"data": [{"id": "m"}], "choices": [choice]}

    monkeypatch.setattr(Server, "ask", ask)
    adapter = make("openai:http://here/v1")
    assert adapter.facts()["scores_first_token"] == (first is not None)
    (answer,) = adapter.answer([Perplexity("a b")])
    assert (answer.nats, answer.tokens) == ((3.0, 2) if first else (1.0, 1))


@pytest.mark.parametrize("text", ["", " and more"])
def test_a_server_that_overhears_the_wish_for_an_echo_gives_none(monkeypatch, text):
    count = len(text.split())
    offsets, nats = [*range(count)], [-1.0] * count
    choice = {"index": 0, "text": text}
    choice["logprobs"] = {"text_offset": offsets, "token_logprobs": nats}

    def ask(_, path, content=None):
        return {"data": [{"id": "m"}], "choices": [choice]}

    monkeypatch.setattr(Server, "ask", ask)
    assert make("openai:http://here/v1").supports == {Generate}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("content", [None, {"n": 1}])
@pytest.mark.parametrize("place", ["http://127.0.0.1:{}/else/x", "/else/x"])
def test_no_redirect_is_followed(stumbling, status, content, place):
    address, answers, asked = stumbling
    port = address.rpartition(":")[2]
    answers += [(status, place.format(port)), (200, "{}")]
    said = f"x must be answered by the server itself. Got a redirect to {address}/else/x instead"
    with pytest.raises(RefusedError, match=re.escape(said)) as found:
        Server(address, TOKEN, lambda _: None).ask("x", content)
    assert not found.value.is_transient
    assert asked == [content]


@pytest.mark.parametrize("fault", ["\n", "\r\n ", "\x00", "\x7f", "\u00e9", "\u2019"])
def test_a_key_that_no_header_holds_is_refused_and_not_told(fault):
    with pytest.raises(ValueError, match=r"key .* must be of printable ASCII .* Got .*") as found:
        Server("http://a", f"se{fault}cret")
    message = str(found.value)
    assert message.endswith("at place 3 instead.")
    assert "cret" not in message
    assert found.value.__cause__ is None


def test_white_space_around_a_key_is_none_of_it():
    assert Server("http://a", f" {TOKEN}\r\n").key == TOKEN
    assert Server("http://a", None).key is None


@pytest.mark.parametrize(
    "place",
    ["nano", "ftp://a/v1", "http://#a", "http://a:80a0/v1", "http://a:99999/v1", "http://[a/v1"],
)
def test_places_that_are_none(place):
    with pytest.raises(ValueError, match="openai model must be ADDRESS#MODEL"):
        make(f"openai:{place}")
