"""POST /v1/chat/completions: answers a conversation, by the chat template of the tokenizer."""

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from tgp_multimodal.data.chat_template import encode
from tgp_multimodal.inference.sampling import check
from tgp_multimodal.inference.writing import GeneratedText, GenerationRequest
from tgp_multimodal.serving import forms
from tgp_multimodal.serving.completions import sampling, usage
from tgp_multimodal.serving.errors import ApiError
from tgp_multimodal.serving.served import ServedModel
from tgp_multimodal.serving.streams import streaming
from tgp_multimodal.serving.worker import Done, Pieces


def router(served: ServedModel) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()

    @routes.post("/v1/chat/completions")
    async def answer(form: forms.ChatRequest, request: Request) -> Response:
        served.require_model(form.model)
        served.require_range("n", form.samples, 1, served.limits.n)
        requests = _requests(served, form)
        head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": served.model.digest[:12],
        }
        if form.stream:
            return await streaming(_chunks(served, form, request, requests, head))
        texts = await served.generate(request, requests)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": row.text(), "refusal": None},
                "logprobs": None,
                "finish_reason": row.finish_reason,
            }
            for index, row in enumerate(texts)
        ]
        content = {**head, "object": "chat.completion", "choices": choices}
        return JSONResponse({**content, "usage": _usage(requests, texts)})

    return routes


def _requests(served: ServedModel, form: forms.ChatRequest) -> list[GenerationRequest]:
    """Answer i has seed + i; without `max_tokens` it may use the rest of the context."""
    tokenizer = served.model.tokenizer
    if tokenizer.chat_template is None:
        raise ApiError(
            400,
            f"model must have a chat template. Got {served.name} without one instead; "
            "/v1/completions continues texts.",
            "model",
        )
    messages = [message.plain() for message in form.messages]
    ids = encode(tokenizer, messages, add_generation_prompt=True).ids
    given = {form.max_tokens, form.max_completion_tokens} - {None}
    if len(given) > 1:
        raise ApiError(
            400,
            "max_tokens must be max_completion_tokens where both are given. "
            f"Got {form.max_tokens} and {form.max_completion_tokens} instead.",
            "max_tokens",
        )
    most = given.pop() if given else None
    if most is None:
        most = max(1, served.context - len(ids))
    served.require_new_tokens(most, 1)
    served.require_fit("messages", len(ids), most)
    base = sampling(form, most)
    own = [base._replace(seed=base.seed + i) for i in range(form.samples)]
    for one in own:
        check(one)  # what cannot be written fails here, and not others in its batch
    return [GenerationRequest(ids, one) for one in own]


async def _chunks(
    served: ServedModel,
    form: forms.ChatRequest,
    request: Request,
    requests: Sequence[GenerationRequest],
    head: dict[str, Any],
) -> AsyncGenerator[dict[str, Any]]:
    head = {**head, "object": "chat.completion.chunk"}

    def chunk(index: int, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice]}

    texts: list[GeneratedText] = []
    roles: set[int] = set()
    async with aclosing(served.generate_events(request, requests, streams=True)) as events:
        async for event in events:
            for index, piece in event.found if isinstance(event, Pieces) else ():
                role = {} if index in roles else {"role": "assistant"}
                roles.add(index)
                yield chunk(index, {**role, "content": piece})
            texts = event.result if isinstance(event, Done) else texts
    for index, row in enumerate(texts):
        role = {} if index in roles else {"role": "assistant", "content": ""}
        yield chunk(index, role, row.finish_reason)
    if form.has_usage:
        yield {**head, "choices": [], "usage": _usage(requests, texts)}


def _usage(requests: Sequence[GenerationRequest], texts: Sequence[GeneratedText]) -> dict[str, int]:
    new = sum(len(row.ids) for row in texts)
    return usage([len(one.prompt) for one in requests], new, len(requests))
