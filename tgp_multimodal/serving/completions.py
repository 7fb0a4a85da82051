"""POST /v1/completions: continues texts, fills gaps, and says how probable texts are."""

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from tgp_multimodal.inference.code_blocks import block_behind
from tgp_multimodal.inference.sampling import Sampling, check
from tgp_multimodal.inference.text import behind_bos, infilling_prompt
from tgp_multimodal.inference.token_scores import token_scores
from tgp_multimodal.inference.writing import Asked, Written
from tgp_multimodal.serving import forms
from tgp_multimodal.serving.errors import ApiError
from tgp_multimodal.serving.log_probabilities import described
from tgp_multimodal.serving.served import Served
from tgp_multimodal.serving.streams import streaming
from tgp_multimodal.serving.worker import Done, Event, Pieces

_USUAL_TOKENS = 16


class Prompt(NamedTuple):
    """What stands before a new text.

    Attributes:
        text: as it was given; of ids, what they spell.
        ids: of the whole row, specials included.
        first: place of the first id that is the prompt's own.
    """

    text: str
    ids: list[int]
    first: int


def router(served: Served) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()

    @routes.post("/v1/completions")
    async def complete(form: forms.Completion, request: Request) -> Response:
        served.require(form.model)
        most = _USUAL_TOKENS if form.max_tokens is None else form.max_tokens
        _check(served, form, most)
        found = prompts(served, form, most)
        rows = [prompt for prompt in found for _ in range(form.samples)]
        served.within("prompts times n", len(rows), 1, served.limits.rows)
        if form.logprobs is not None:
            told = sum(most + (len(prompt.ids) if form.echo else 0) for prompt in rows)
            named = told * (form.logprobs + 1)
            served.within("log-probabilities of all tokens", named, 0, served.limits.named)
        asked = _asked(form, rows, most) if most else []
        name = f"cmpl-{secrets.token_hex(12)}"
        if form.stream:
            return await streaming(_chunks(served, form, request, rows, asked, name))
        texts = await served.texts(request, asked) if asked else []
        return JSONResponse(await _answer(served, form, request, rows, texts, name))

    return routes


def sampling(form: forms.Written, most: int) -> Sampling:
    """The settings of a request, but for blocks of code; without a seed one is drawn.

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


def prompts(served: Served, form: forms.Completion, most: int) -> list[Prompt]:
    """The rows to go on with, none of them cut."""
    tokenizer, given = served.model.tokenizer, forms.listed("prompt", form.prompt)
    served.within("prompts", len(given), 1, served.limits.inputs)
    found = []
    for one in given:
        ids = tokenizer.encode(one) if isinstance(one, str) else known_ids(served, "prompt", one)
        # Offsets are those of what the ids spell: composed (NFC), which what was sent may not be.
        is_spelled = form.logprobs is not None or not isinstance(one, str)
        text = tokenizer.decode(ids) if is_spelled else str(one)
        if form.suffix is None:
            row = behind_bos(tokenizer, ids)
            first = len(row) - len(ids)  # 0 where the ids bring a BOS
        else:
            behind = tokenizer.encode(form.suffix)
            ids = behind_bos(tokenizer, ids)[1:]
            row, first = infilling_prompt(tokenizer, ids, behind, len(ids) + len(behind) + 4), 2
        served.fits("prompt", len(row), most)
        found.append(Prompt(text, row, first))
    return found


def known_ids(served: Served, name: str, ids: Sequence[int]) -> list[int]:
    """Ids that the tokenizer has; others are refused."""
    vocabulary = served.model.tokenizer.vocabulary
    for token in ids:
        served.within(f"token of {name}", token, 0, vocabulary - 1)
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


def _check(served: Served, form: forms.Completion, most: int) -> None:
    served.within("n", form.samples, 1, served.limits.n)
    served.within("max_tokens", most, 0 if form.echo else 1, served.context)
    if form.logprobs is not None:
        served.within("logprobs", form.logprobs, 0, served.limits.logprobs)
        if form.stream:
            raise ApiError(400, "stream must be off for logprobs. Got both instead.", "stream")
    if form.echo and form.suffix is not None:
        raise ApiError(400, "echo must be off for a suffix. Got both instead.", "echo")


def _asked(form: forms.Completion, rows: Sequence[Prompt], most: int) -> list[Asked]:
    """What is written: sample i of each prompt has seed + i, as in `Model.samples`.

    Where no seed is given every sample has another, those of equal prompts too.

    Raises:
        ValueError: a seed is out of range.
    """
    found, n = [], form.samples
    base = sampling(form, most)
    for number, prompt in enumerate(rows):
        block = block_behind(prompt.text) if form.stop_at_dedent else None
        place = number if form.seed is None else number % n
        own = base._replace(seed=base.seed + place, block=block)
        check(own)  # what cannot be written fails here, and not others in its batch
        found.append(Asked(prompt.ids, own))
    return found


async def _answer(
    served: Served,
    form: forms.Completion,
    request: Request,
    rows: Sequence[Prompt],
    texts: Sequence[Written],
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
            "finish_reason": texts[index].reason if texts else "length",
        }
        for index, prompt in enumerate(rows)
    ]
    count = sum(len(row.ids) for row in texts)
    spent = usage([len(prompt.ids) for prompt in rows], count, form.samples)
    return {**_head(served, name), "choices": choices, "usage": spent}


async def _scored(
    served: Served,
    form: forms.Completion,
    request: Request,
    rows: Sequence[Prompt],
    texts: Sequence[Written],
) -> list[dict[str, Any]]:
    eos = served.model.tokenizer.eos
    new = [[*row.ids, *[eos] * row.at_eos] for row in texts] or [[] for _ in rows]
    ids = [[*prompt.ids, *own] for prompt, own in zip(rows, new, strict=True)]
    starts = [p.first if form.echo else len(p.ids) for p in rows]
    network, best = served.model.network.text, form.logprobs or 0
    lengths: list[int | None] = [None] * len(rows)
    for index, row in enumerate(texts):
        if row.reason == "stop" and not row.at_eos:  # what stands behind it was cut off
            lengths[index] = len(row.text()) + (len(rows[index].text) if form.echo else 0)

    def work(check: Callable[[], None]) -> list[dict[str, Any]]:
        found = token_scores(network, ids, [max(1, start) for start in starts], best, check)
        told = []
        for row, start, scores, length in zip(ids, starts, found, lengths, strict=True):
            check()
            every = [*[None] * (start == 0), *scores]
            told.append(described(served.model.tokenizer, row[start:], every, length))
        return told

    return await served.computed(request, work, bool(texts))


async def _chunks(
    served: Served,
    form: forms.Completion,
    request: Request,
    rows: Sequence[Prompt],
    asked: Sequence[Asked],
    name: str,
) -> AsyncGenerator[dict[str, Any]]:
    head = _head(served, name)
    events = served.written(request, asked, streams=True) if asked else _nothing()

    def chunk(index: int, text: str, reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice]}

    texts: list[Written] = []
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
        yield chunk(index, "", texts[index].reason if texts else "length")
    if form.has_usage:
        count = sum(len(row.ids) for row in texts)
        spent = usage([len(prompt.ids) for prompt in rows], count, form.samples)
        yield {**head, "choices": [], "usage": spent}


async def _nothing() -> AsyncGenerator[Event]:
    """Events where no text is asked for: one, that it is done."""
    yield Done([])


def _head(served: Served, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "text_completion",
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": served.model.digest[:12],
    }
