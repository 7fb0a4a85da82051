"""What every endpoint knows: the model, its limits, and the way to the thread that computes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NamedTuple

from fastapi import Request

from tgp_multimodal.inference.model import Model
from tgp_multimodal.inference.writing import GeneratedText, GenerationRequest
from tgp_multimodal.serving.errors import ApiError
from tgp_multimodal.serving.worker import (
    BusyError,
    CancelledError,
    Done,
    Event,
    Failed,
    Job,
    Worker,
)

_RETRY_AFTER = 5  # seconds
_CLIENT_CLOSED = 499  # what servers log for a client that hung up; nobody reads the answer


class Limits(NamedTuple):
    """The most that one request may ask for.

    Attributes:
        body: bytes.
        inputs: prompts, or texts to embed.
        n: samples of one prompt.
        rows: texts to generate, prompts times samples.
        logprobs: alternatives returned for each token.
        named: log-probabilities returned in all, of tokens and of alternatives.
        pictures: pictures of one request.
        side: of a picture, pixels.
        patches: of a picture; attention takes memory by their square.
        steps: of a drawing.
        waiting: requests in line, over all clients.
    """

    body: int = 1_000_000
    inputs: int = 256
    n: int = 32
    rows: int = 256
    logprobs: int = 20
    named: int = 1_000_000
    pictures: int = 16
    side: int = 512
    patches: int = 4096
    steps: int = 100
    waiting: int = 256


class ServedModel:
    """A model that is served.

    Args:
        model: its network and tokenizer.
        name: what requests call it.
        created: when it was opened, seconds since 1970.
        limits: of requests.
    """

    def __init__(self, model: Model, name: str, created: int, limits: Limits) -> None:
        self.model, self.name, self.created, self.limits = model, name, created, limits
        self.worker = Worker(model.network.text, model.tokenizer, limits.waiting)

    @property
    def context(self) -> int:
        """Most tokens of a row."""
        return self.model.network.text.context

    def require_model(self, model: str) -> None:
        """Refuses requests for another model, with 404."""
        if model != self.name:
            raise ApiError(
                404, f"model must be {self.name}. Got {model} instead.", "model", "model_not_found"
            )

    def require_range(
        self, name: str, value: int, least: int, most: int, code: str | None = None
    ) -> None:
        """Refuses a number out of its range, with 400."""
        if not least <= value <= most:
            message = f"{name} must be between {least} and {most}. Got {value} instead."
            raise ApiError(400, message, name, code)

    def require_new_tokens(self, new: int, least: int) -> None:
        """Refuses to write more tokens than the context holds, or fewer than `least`."""
        code = "context_length_exceeded" if new > self.context else None
        self.require_range("max_tokens", new, least, self.context, code)

    def require_fit(self, name: str, tokens: int, new: int = 0) -> None:
        """Refuses rows that are longer than the context, with 400."""
        if tokens + new > self.context:
            together = " and max_tokens" if new else ""
            got = f"{tokens} and {new}" if new else str(tokens)
            raise ApiError(
                400,
                f"{name}{together} must be at most {self.context} tokens (the context)"
                f"{' together' if new else ''}. Got {got} instead.",
                name,
                "context_length_exceeded",
            )

    def generate_events(
        self, request: Request, requests: Sequence[GenerationRequest], streams: bool = False
    ) -> AsyncGenerator[Event]:
        """Events of texts that are written; the last is `Done`."""
        return self._events(request, requests=requests, streams=streams)

    async def generate(
        self, request: Request, requests: Sequence[GenerationRequest]
    ) -> list[GeneratedText]:
        """The texts, when all are finished."""
        return await _last(self.generate_events(request, requests))

    async def compute(
        self,
        request: Request,
        work: Callable[[Callable[[], None]], Any],
        is_second: bool = False,
    ) -> Any:
        """What `work` returns, computed in the one thread that computes."""
        return await _last(self._events(request, is_second, work=work))

    async def _events(
        self, request: Request, is_second: bool = False, **job: Any
    ) -> AsyncGenerator[Event]:
        """Events of a job, until it is done; it is stopped as soon as nobody listens."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Event]()

        def emit(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens
                loop.call_soon_threadsafe(queue.put_nowait, event)

        own = Job(emit, **job)
        self._submit(own, is_second)
        leaving = asyncio.ensure_future(_disconnected(request))
        waiting = asyncio.ensure_future(queue.get())
        try:
            while True:
                await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    raise ApiError(
                        _CLIENT_CLOSED, "client must wait for the answer. Got none instead."
                    )
                event = waiting.result()
                if isinstance(event, Failed):
                    raise _refusal(event.error)
                yield event
                if isinstance(event, Done):
                    return
                waiting = asyncio.ensure_future(queue.get())
        finally:
            own.cancelled = True
            leaving.cancel()
            waiting.cancel()

    def _submit(self, job: Job, is_second: bool) -> None:
        try:
            self.worker.submit(job, is_second)
        except BusyError as error:
            headers = {"Retry-After": str(_RETRY_AFTER)}
            raise ApiError(503, str(error), headers=headers) from None


def _refusal(error: Exception) -> Exception:
    if isinstance(error, CancelledError):
        return ApiError(503, "server must be open. Got one that closes instead.")
    return error


async def _last(events: AsyncGenerator[Event]) -> Any:
    """The result of a job."""
    async with contextlib.aclosing(events):
        async for event in events:
            if isinstance(event, Done):
                return event.result
    raise AssertionError("the last event is Done")


async def _disconnected(request: Request) -> None:
    """Returns when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
