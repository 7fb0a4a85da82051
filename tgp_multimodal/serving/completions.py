"""POST /v1/completions: continues texts, fills gaps, and returns log-probabilities."""

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from tgp_multimodal.inference.code_blocks import enclosing_block
from tgp_multimodal.inference.sampling import Sampling, check
from tgp_multimodal.inference.text import infilling_prompt, with_bos
from tgp_multimodal.inference.token_scores import token_scores
from tgp_multimodal.inference.writing import GeneratedText, GenerationRequest
from tgp_multimodal.serving import forms
from tgp_multimodal.serving.errors import ApiError
from tgp_multimodal.serving.log_probabilities import completion_logprobs
from tgp_multimodal.serving.served import ServedModel
from tgp_multimodal.serving.streams import streaming
from tgp_multimodal.serving.worker import Done, Event, Pieces

_USUAL_TOKENS = 16


class Prompt(NamedTuple):
    """The prompt of a completion.

    Attributes:
        text: as it was given, or decoded from ids (always if log-probabilities are wanted).
        ids: of the whole row, special tokens included.
        first: index of the first id of the prompt itself, after special tokens.
    """

    text: str
    ids: list[int]
    first: int


def router(served: ServedModel) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()

    @routes.post("/v1/completions")
    async def complete(form: forms.CompletionRequest, request: Request) -> Response:
        served.require_model(form.model)
        most = _USUAL_TOKENS if form.max_tokens is None else form.max_tokens
        _check(served, form, most)
        found = prompts(served, form, most)
        rows = [prompt for prompt in found for _ in range(form.samples)]
        served.require_range("prompts times n", len(rows), 1, served.limits.rows)
        if form.logprobs is not None:
            told = sum(most + (len(prompt.ids) if form.echo else 0) for prompt in rows)
            named = told * (form.logprobs + 1)
            served.require_range("log-probabilities of all tokens", named, 0, served.limits.named)
        requests = _requests(form, rows, most) if most else []
        name = f"cmpl-{secrets.token_hex(12)}"
        if form.stream:
            return await streaming(_chunks(served, form, request, rows, requests, name))
        texts = await served.generate(request, requests) if requests else []
        return JSONResponse(await _answer(served, form, request, rows, texts, name))

    return routes


def sampling(form: forms.TextRequest, most: int) -> Sampling:
    """Sampling settings of a request, except `block`; a missing seed is drawn at random.

    Raises:
        ValueError: one is out of range.
    """
    stop = [form.stop] if isinstance(form.stop, str) else form.stop or []
    found = Sampling(
        max(1, most),
        1.0 if form.temperature is None else form.temperature,
        1.0 if form.top_p is None else form.top_p,
        tuple(stop),
        secrets.randbits(31) if form.seed is None else form.seed,
        form.top_k,
        form.repetition_penalty,
    )
    check(found)
    return found


def prompts(served: ServedModel, form: forms.CompletionRequest, most: int) -> list[Prompt]:
    """The prompts to continue; one that does not fit the context is refused, not truncated."""
    tokenizer, given = served.model.tokenizer, forms.listed("prompt", form.prompt)
    served.require_range("prompts", len(given), 1, served.limits.inputs)
    found = []
    for one in given:
        ids = tokenizer.encode(one) if isinstance(one, str) else known_ids(served, "prompt", one)
        # Offsets are those of what the ids spell: composed (NFC), which what was sent may not be.
        is_spelled = form.logprobs is not None or not isinstance(one, str)
        text = tokenizer.decode(ids) if is_spelled else str(one)
        if form.suffix is None:
            row = with_bos(tokenizer, ids)
            first = len(row) - len(ids)  # 0 where the ids bring a BOS
        else:
            behind = tokenizer.encode(form.suffix)
            ids = with_bos(tokenizer, ids)[1:]
            row, first = infilling_prompt(tokenizer, ids, behind, len(ids) + len(behind) + 4), 2
        served.require_fit("prompt", len(row), most)
        found.append(Prompt(text, row, first))
    return found


def known_ids(served: ServedModel, name: str, ids: Sequence[int]) -> list[int]:
    """Ids that the tokenizer has; others are refused."""
    vocabulary = served.model.tokenizer.vocabulary
    for token in ids:
        served.require_range(f"token of {name}", token, 0, vocabulary - 1)
    return list(ids)


def usage(prompts: Sequence[int], new: int, n: int) -> dict[str, int]:
    """Tokens that were read and written; a prompt with several samples is read once.

    Args:
        prompts: lengths of the rows' prompts, sample by sample.
        new: tokens written.
        n: samples of each prompt.
    """
    read = sum(prompts[::n])
    return {"prompt_tokens": read, "completion_tokens": new, "total_tokens": read + new}


def _check(served: ServedModel, form: forms.CompletionRequest, most: int) -> None:
    served.require_range("n", form.samples, 1, served.limits.n)
    served.require_new_tokens(most, 0 if form.echo else 1)
    if form.logprobs is not None:
        served.require_range("logprobs", form.logprobs, 0, served.limits.logprobs)
        if form.stream:
            raise ApiError(400, "stream must be off for logprobs. Got both instead.", "stream")
    if form.echo and form.suffix is not None:
        raise ApiError(400, "echo must be off for a suffix. Got both instead.", "echo")


def _requests(
    form: forms.CompletionRequest, rows: Sequence[Prompt], most: int
) -> list[GenerationRequest]:
    """Generation requests: sample i of each prompt has seed + i, as in `Model.samples`.

    Without a seed in the request all samples have different ones, also those of equal prompts.

    Raises:
        ValueError: a seed is out of range.
    """
    found, n = [], form.samples
    base = sampling(form, most)
    for number, prompt in enumerate(rows):
        block = enclosing_block(prompt.text) if form.stop_at_dedent else None
        place = number if form.seed is None else number % n
        own = base._replace(seed=base.seed + place, block=block)
        check(own)  # what cannot be written fails here, and not others in its batch
        found.append(GenerationRequest(prompt.ids, own))
    return found


async def _answer(
    served: ServedModel,
    form: forms.CompletionRequest,
    request: Request,
    rows: Sequence[Prompt],
    texts: Sequence[GeneratedText],
    name: str,
) -> dict[str, Any]:
    new = [row.text() for row in texts] or [""] * len(rows)
    scored: list[Any] = [None] * len(rows)
    if form.logprobs is not None:
        scored = await _scored(served, form, request, rows, texts)
    choices = [
        {
            "index": index,
            "text": (prompt.text if form.echo else "") + new[index],
            "logprobs": scored[index],
            "finish_reason": texts[index].finish_reason if texts else "length",
        }
        for index, prompt in enumerate(rows)
    ]
    count = sum(len(row.ids) for row in texts)
    spent = usage([len(prompt.ids) for prompt in rows], count, form.samples)
    return {**_head(served, name), "choices": choices, "usage": spent}


async def _scored(
    served: ServedModel,
    form: forms.CompletionRequest,
    request: Request,
    rows: Sequence[Prompt],
    texts: Sequence[GeneratedText],
) -> list[dict[str, Any]]:
    eos = served.model.tokenizer.eos
    new = [[*row.ids, *[eos] * row.ended_with_eos] for row in texts] or [[] for _ in rows]
    ids = [[*prompt.ids, *own] for prompt, own in zip(rows, new, strict=True)]
    starts = [p.first if form.echo else len(p.ids) for p in rows]
    network, best = served.model.network.text, form.logprobs or 0
    lengths: list[int | None] = [None] * len(rows)
    for index, row in enumerate(texts):
        if (
            row.finish_reason == "stop" and not row.ended_with_eos
        ):  # what stands behind it was cut off
            lengths[index] = len(row.text()) + (len(rows[index].text) if form.echo else 0)

    def work(check: Callable[[], None]) -> list[dict[str, Any]]:
        found = token_scores(network, ids, [max(1, start) for start in starts], best, check)
        told = []
        for row, start, scores, length in zip(ids, starts, found, lengths, strict=True):
            check()
            every = [*[None] * (start == 0), *scores]
            told.append(completion_logprobs(served.model.tokenizer, row[start:], every, length))
        return told

    return await served.compute(request, work, bool(texts))


async def _chunks(
    served: ServedModel,
    form: forms.CompletionRequest,
    request: Request,
    rows: Sequence[Prompt],
    requests: Sequence[GenerationRequest],
    name: str,
) -> AsyncGenerator[dict[str, Any]]:
    head = _head(served, name)
    events = served.generate_events(request, requests, streams=True) if requests else _nothing()

    def chunk(index: int, text: str, reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice]}

    texts: list[GeneratedText] = []
    is_told = not form.echo
    async with aclosing(events):
        async for event in events:  # the first one says that there was room in the line
            for index, prompt in enumerate(rows if not is_told else ()):
                yield chunk(index, prompt.text)
            is_told = True
            for index, piece in event.found if isinstance(event, Pieces) else ():
                yield chunk(index, piece)
            texts = event.result if isinstance(event, Done) else texts
    for index in range(len(rows)):
        yield chunk(index, "", texts[index].finish_reason if texts else "length")
    if form.has_usage:
        count = sum(len(row.ids) for row in texts)
        spent = usage([len(prompt.ids) for prompt in rows], count, form.samples)
        yield {**head, "choices": [], "usage": spent}


async def _nothing() -> AsyncGenerator[Event]:
    """Events where no text is asked for: one, that it is done."""
    yield Done([])


def _head(served: ServedModel, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "text_completion",
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": served.model.digest[:12],
    }
