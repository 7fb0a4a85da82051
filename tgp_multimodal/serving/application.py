"""The web application: every endpoint behind the gate, and the thread that computes for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tgp_multimodal.serving import chat, completions, embeddings, errors, pictures
from tgp_multimodal.serving.gate import Gate
from tgp_multimodal.serving.served import ServedModel


def application(served: ServedModel, token: str | None = None) -> Gate:
    """A model as an ASGI application.

    Args:
        served: the model with its limits.
        token: that requests must carry; None: those addressed to this machine need none.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        served.worker.start()
        yield
        served.worker.close()

    # No page of documentation: it would load its scripts from elsewhere.
    inner = FastAPI(
        title="TGP-Multimodal", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    for module in (chat, completions, embeddings, pictures):
        inner.include_router(module.router(served))
    for kind, handler in (
        (errors.ApiError, errors.handle_refusal),
        (ValueError, errors.handle_value_error),
        (RequestValidationError, errors.handle_invalid_body),
        (HTTPException, errors.handle_http_error),
        (Exception, errors.handle_bug),
    ):
        inner.add_exception_handler(kind, handler)

    @inner.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(served)]}

    @inner.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        served.require_model(name)
        return _model(served)

    @inner.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "requests": served.worker.depth()}

    return Gate(inner, token, served.limits.body)


def _model(served: ServedModel) -> dict[str, Any]:
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "tgp",
        "max_model_len": served.context,
        "digest": served.model.digest,
        "parameters": sum(p.numel() for p in served.model.network.parameters()),
    }
