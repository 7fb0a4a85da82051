"""A model behind any server that speaks OpenAI's completions: ours, vLLM and others."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from unicodedata import is_normalized

import numpy as np

from tgp_multimodal import __version__
from tgp_multimodal.adapters import foreign
from tgp_multimodal.adapters.openai_server import RefusedError, Server
from tgp_multimodal.data.tokenizer import move_space
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.requests import (
    Answer,
    Embed,
    Generate,
    Perplexity,
    PerplexityAnswer,
    Request,
    Score,
    ScoreAnswer,
)

_TOGETHER = 32  # texts of one request
_STOPS = 4  # stop strings that OpenAI takes; the others are looked for here
_PARALLEL = 4  # requests at once, so that the server is never idle
_SAME = 1e-6  # nats between two log-probabilities that are one


class _Token(NamedTuple):
    """A token of an echo.

    Attributes:
        start: where it begins in the text, in characters.
        end: where it ends.
        nats: its log-probability.
        is_greedy: True if no other was more probable.
    """

    start: int
    end: int
    nats: float
    is_greedy: bool


class OpenAiApi(Adapter):
    """A model of a server, asked over HTTP; what it can do is tried out when it is opened.

    Texts are written by /completions, greedily unless a request has a temperature, and embedded by
    /embeddings. Log-likelihoods come from `echo` with `logprobs`, which few servers offer, and the
    join is lm-eval's: white space moves, and the continuation is what follows as many tokens as the
    context alone has (counted only if a token spans the join). A token without a log-probability,
    which the first one is if nothing precedes it, costs nothing; the fact `scores_first_token` says
    whether that one has any (None: no likelihoods at all).

    Nobody but the server knows the ids, so texts that are longer than its context are cut by
    characters: contexts lose their left end, texts to embed their right one, and a text for
    `Perplexity` falls into halves of which each is read from its own start, which costs more than
    rolling windows.

    Args:
        place: ADDRESS#MODEL, for example `http://127.0.0.1:8000/v1#nano`; the model may be left
            out where the server has but one. The variable OPENAI_API_KEY holds the token.

    Raises:
        ValueError: there is no such server or model, or it can do nothing.
        RefusedError: the server is busy, or its quota is used up: what it can do is not known then.
    """

    embeds = frozenset({"text"})

    def __init__(self, place: str) -> None:
        address, _, model = place.partition("#")
        self.server = Server(address, os.environ.get("OPENAI_API_KEY"))
        listed: Any = self.server.ask("models")
        entries = listed.get("data") if isinstance(listed, dict) else listed
        if not isinstance(entries, list):
            raise ValueError(f"{address}/models must list models. Got something else instead.")
        self.entry = _entry(entries, model)
        self.model = str(self.entry["id"])
        self.name = foreign.display_name("openai", self.model)
        self.scores_first_token: bool | None = None
        tries: dict[tuple[type[Request], ...], Callable[[], Any]] = {
            (Generate,): lambda: self._complete("a", max_tokens=1),
            (Score, Perplexity): self._tried_echo,
            (Embed,): lambda: self._vectors(["a"]),
        }
        self.supports = frozenset(k for kinds, ask in tries.items() if _works(ask) for k in kinds)
        if not self.supports:
            raise ValueError(
                "openai model must write, score or embed."
                f" Got {self.model}, which the server lets do none of these, instead."
            )
        self.fills = _works(lambda: self._complete("a", suffix="b", max_tokens=1))

    def can(self, card: Card) -> str | None:
        if "suffix" in (*card.columns, *card.templates):
            if not self.fills:
                return "cannot fill a gap"
            if Score in card.requests:
                return "cannot score what fills a gap"
        return super().can(card)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        if not requests:
            return []
        answers: dict[type, Callable[[Any], list[Answer]]] = {
            Score: self._score,
            Perplexity: self._perplexity,
            Generate: self._generate,
            Embed: self._embed,
        }
        return answers[type(requests[0])](requests)

    def facts(self) -> dict[str, Any]:
        # A server that names no digest may change its model unseen. Its date does not help: some
        # servers give the time of the question.
        known = [self.entry.get(name) for name in ("root", "max_model_len")]
        told = self.entry.get("digest") or (self.server.address, *known)
        settings = ("openai", self.model, told, __version__)
        return {
            "digest": hashlib.sha256(repr(settings).encode()).hexdigest(),
            "weights": self.entry.get("digest"),
            "parameters": int(self.entry.get("parameters") or 0),
            "context": self.entry.get("max_model_len"),
            "server": self.server.address,
            "scores_first_token": self.scores_first_token,
        }

    def _score(self, requests: Sequence[Score]) -> list[Answer]:
        pairs = [move_space(r.context, r.continuation) for r in requests]
        wholes = [before + after for before, after in pairs]
        echoes = _each(self._echo, wholes, lambda i: self._cut_echo(*pairs[i]))
        joints = [
            length - len(after) for (_, after), (_, length) in zip(pairs, echoes, strict=True)
        ]
        spanned = dict.fromkeys(
            before
            for (before, _), joint, (tokens, length), whole in zip(
                pairs, joints, echoes, wholes, strict=True
            )
            if length == len(whole)
            and before
            and (not is_normalized("NFC", whole) or any(t.start < joint < t.end for t in tokens))
        )
        counts = dict(zip(spanned, self._counts(list(spanned)), strict=True))
        answers: list[Answer] = []
        for (before, _), joint, (tokens, length), whole in zip(
            pairs, joints, echoes, wholes, strict=True
        ):
            own = [token for token in tokens if token.end > joint]
            if length == len(whole):  # counts are those of whole contexts
                own = tokens[counts.get(before, len(tokens)) :] or own
            nats, is_greedy = sum(t.nats for t in own), all(t.is_greedy for t in own)
            answers.append(ScoreAnswer(nats, len(own), is_greedy))
        return answers

    def _counts(self, contexts: Sequence[str]) -> list[int]:
        """How many tokens each context has alone, where a token spans its end in the whole."""
        echoes = _each(self._echo, contexts, lambda i: self._cut_echo(contexts[i], ""))
        return [len(tokens) for tokens, _ in echoes]

    def _cut_echo(self, before: str, after: str) -> tuple[list[_Token], int]:
        """The echo of a continuation behind as much of its context as there is room for."""
        while True:
            try:
                return self._echo([before + after])[0]
            except RefusedError as error:
                if not error.is_too_long or not before:
                    raise
            before = before[len(before) // 8 + 1 :]

    def _perplexity(self, requests: Sequence[Perplexity]) -> list[Answer]:
        texts = [r.text for r in requests]
        echoes = _each(self._echo, texts, lambda i: (self._halved(texts[i]), 0))
        return [
            PerplexityAnswer(-sum(t.nats for t in tokens), len(text.encode()), len(tokens))
            for text, (tokens, _) in zip(texts, echoes, strict=True)
        ]

    def _halved(self, text: str) -> list[_Token]:
        """The tokens of a text that may be too long to be read as one."""
        try:
            return self._echo([text])[0][0]
        except RefusedError as error:
            if not error.is_too_long or len(text) < 2:
                raise
        middle = text.rfind(" ", 1, len(text) // 2)
        middle = middle if middle > 0 else len(text) // 2
        return [*self._halved(text[:middle]), *self._halved(text[middle:])]

    def _generate(self, requests: Sequence[Generate]) -> list[Answer]:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            return list(pool.map(self._written, requests))

    def _written(self, request: Generate) -> str:
        prompt, suffix, most = request.prompt, request.suffix, request.max_tokens
        drawn = {}
        if request.temperature:
            names = ("temperature", "top_p", "seed")
            drawn = {name: getattr(request, name) for name in names}
        if context := self.entry.get("max_model_len"):
            most = min(most, int(context) // 2)
        while True:
            stop = {"stop": list(request.stop[:_STOPS])} if request.stop else {}
            gap = {} if suffix is None else {"suffix": suffix}
            try:
                text = self._complete(prompt, max_tokens=most, **drawn, **stop, **gap)
                return text[: min([text.find(s) for s in request.stop if s in text], default=None)]
            except RefusedError as error:
                if not error.is_too_long or not (prompt or suffix):
                    raise
            if suffix and len(suffix) > len(prompt):
                suffix = suffix[: len(suffix) * 7 // 8]
            else:
                prompt = prompt[len(prompt) // 8 + 1 :]

    def _embed(self, requests: Sequence[Embed]) -> list[Answer]:
        texts = [str(r.item) for r in requests]
        return _each(self._vectors, texts, lambda i: self._cut_vector(texts[i]))

    def _cut_vector(self, text: str) -> np.ndarray:
        while True:
            try:
                return self._vectors([text])[0]
            except RefusedError as error:
                if not error.is_too_long or not text:
                    raise
            text = text[: len(text) * 7 // 8]

    def _complete(self, prompt: str, **settings: Any) -> str:
        content = {"model": self.model, "prompt": prompt, "temperature": 0, **settings}
        return str(self.server.ask("completions", content)["choices"][0]["text"])

    def _echo(self, texts: Sequence[str]) -> list[tuple[list[_Token], int]]:
        """The tokens of each text, and its length."""
        settings = {"echo": True, "logprobs": 1, "max_tokens": 0, "temperature": 0}
        content = {"model": self.model, "prompt": list(texts), **settings}
        choices = self.server.ask("completions", content)["choices"]
        ordered = sorted(choices, key=lambda choice: choice["index"])
        return [
            (list(_tokens(choice["logprobs"], text)), len(text))
            for text, choice in zip(texts, ordered, strict=True)
        ]

    def _tried_echo(self) -> None:
        """Raises KeyError where a server takes the wish for an echo and gives none."""
        if self._complete("a b", echo=True, max_tokens=0).strip() != "a b":
            raise KeyError("echo")
        (tokens, _), *_ = self._echo(["a b"])
        self.scores_first_token = any(token.start == 0 for token in tokens)

    def _vectors(self, texts: Sequence[str]) -> list[np.ndarray]:
        content = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        data = self.server.ask("embeddings", content)["data"]
        ordered = sorted(data, key=lambda one: one["index"])
        return [np.asarray(one["embedding"], np.float32) for one in ordered]


def _entry(listed: Sequence[dict[str, Any]], model: str) -> dict[str, Any]:
    """What the server says of the model, or of its only one."""
    names = {str(one["id"]): one for one in listed}
    if not model and len(names) == 1:
        return listed[0]
    if model not in names:
        there = ", ".join(sorted(names)[:14])
        raise ValueError(
            f"openai model must be one that the server has. Got {model or 'none'} instead; "
            f"there are: {there}."
        )
    return names[model]


def _works(ask: Callable[[], Any]) -> bool:
    """Whether a server can do a thing; no, if it refuses or answers in another form.

    Raises:
        RefusedError: it did not say.
    """
    try:
        ask()
    except RefusedError as error:
        if error.is_transient:
            raise
        return False
    except (LookupError, TypeError, ValueError):
        return False
    return True


def _tokens(table: dict[str, Any], text: str) -> Iterator[_Token]:
    starts, nats = table["text_offset"], table["token_logprobs"]
    best = table.get("top_logprobs") or [None] * len(nats)
    before = _before(table, text)
    starts = [start - before for start in starts]
    ends = [*starts, len(text)][1:]
    for start, end, own, others in zip(starts, ends, nats, best, strict=True):
        if own is not None:
            yield _Token(start, end, own, own >= max((others or {}).values(), default=own) - _SAME)


def _before(table: dict[str, Any], text: str) -> int:
    """Characters that a server counts in front of the text: vLLM those of BOS as it is spelt."""
    pieces, starts, nats = table.get("tokens") or [], table["text_offset"], table["token_logprobs"]
    if len(pieces) < 2 or nats[0] is not None or text.startswith(pieces[0]):
        return 0
    return len(pieces[0]) if starts[1] - starts[0] == len(pieces[0]) else 0


def _each(
    ask: Callable[[list[str]], list[Any]], texts: Sequence[str], alone: Callable[[int], Any]
) -> list[Any]:
    """Answers of all texts, some at a time, and of those alone among which one is too long.

    Args:
        ask: answers a list.
        texts: what to ask about; equal ones are asked about once.
        alone: answers the text of a number.
    """
    distinct = {text: number for number, text in reversed([*enumerate(texts)])}
    names = list(distinct)

    def some(start: int) -> list[Any]:
        chosen = names[start : start + _TOGETHER]
        try:
            return ask(chosen)
        except RefusedError as error:
            if not error.is_too_long:
                raise
        return [alone(distinct[name]) for name in chosen]

    with ThreadPoolExecutor(_PARALLEL) as pool:
        parts = pool.map(some, range(0, len(names), _TOGETHER))
        answers = dict(zip(names, (one for part in parts for one in part), strict=True))
    return [answers[text] for text in texts]
