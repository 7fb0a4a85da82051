"""Answers in pieces: server-sent events, as OpenAI's clients read them."""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse

from tgp_multimodal.serving.errors import ApiError, as_content, internal_error

_log = logging.getLogger(__name__)
_END = "data: [DONE]\n\n"


async def streaming(chunks: AsyncGenerator[dict[str, Any]]) -> StreamingResponse:
    """A response of these chunks.

    An error before the first one is raised, and so gets an HTTP status of its own; a later one can
    only be sent as the last chunk.
    """
    first = await anext(chunks)

    async def lines() -> AsyncIterator[str]:
        async with aclosing(chunks):
            yield _line(first)
            try:
                async for chunk in chunks:
                    yield _line(chunk)
            except ApiError as error:
                yield _line(as_content(error))
            except Exception as error:  # the status was sent: all that is left is to say it
                _log.exception("a stream broke")
                yield _line(as_content(internal_error(error)))
            yield _END

    return StreamingResponse(lines(), media_type="text/event-stream")


def _line(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
