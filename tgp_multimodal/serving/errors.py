"""What goes wrong, as OpenAI's clients expect to read it."""

import re
import traceback
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

_PACKAGE = "tgp_multimodal"
_KIND = re.compile(r"(str|int|list\[.*\])$")  # which of several kinds of value is meant
_NOT_JSON = "json_invalid"
_CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 503: "overloaded"}


class ApiError(Exception):
    """A refusal.

    Args:
        status: of the answer.
        message: one sentence, `<name> must be <constraint>. Got <value> instead.`
        param: which part of the request it is about; "token of prompt" is about `prompt`.
        code: a word that programs can compare.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param and param.split()[-1]
        self.code, self.headers = code or _CODES.get(status), headers


def as_response(error: ApiError) -> JSONResponse:
    """The refusal as a response."""
    return JSONResponse(as_content(error), error.status, error.headers)


def as_content(error: ApiError) -> dict[str, Any]:
    """The refusal as plain data."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    parts = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    return {"error": parts}


async def handle_refusal(_: Request, error: Exception) -> JSONResponse:
    """Handler of `ApiError`."""
    assert isinstance(error, ApiError)
    return as_response(error)


async def handle_value_error(request: Request, error: Exception) -> JSONResponse:
    """Handler of `ValueError`: a setting that is out of range, found where it is used.

    One that a library raised is a bug, and is raised again.
    """
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    if not str(frame.f_globals.get("__name__", "")).startswith(_PACKAGE):
        raise error
    return as_response(ApiError(400, str(error)))


async def handle_invalid_body(_: Request, error: Exception) -> JSONResponse:
    """Handler of bodies that are not JSON (400) or do not match the schema (422)."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == _NOT_JSON:
        reason = first.get("ctx", {}).get("error", "something else")
        return as_response(ApiError(400, f"body must be JSON. Got this instead: {reason}."))
    names = [str(part) for part in first["loc"][1:] if not _KIND.match(str(part))]
    name = ".".join(names) or "body"
    return as_response(ApiError(422, _sentence(name, first), name))


async def handle_http_error(_: Request, error: Exception) -> JSONResponse:
    """Handler of what the framework refuses: paths and methods that do not exist."""
    assert isinstance(error, HTTPException)
    return as_response(ApiError(error.status_code, f"{error.detail}.", headers=error.headers))


async def handle_bug(_: Request, error: Exception) -> JSONResponse:
    """Handler of bugs: their traceback is in the log and stays there."""
    return as_response(internal_error(error))


def internal_error(error: Exception) -> ApiError:
    """What is said of a bug."""
    return ApiError(500, f"request must be answered. Got a {type(error).__name__} instead.")


def _sentence(name: str, found: Mapping[str, Any]) -> str:
    if found["type"] == "missing":
        return f"{name} must be given. Got nothing instead."
    if found["type"] == "extra_forbidden":
        return f"{name} must not be given: there is no such setting. Got {_short(found)} instead."
    message = str(found["msg"])
    constraint = message.removeprefix("Input should be ").removeprefix("Value error, ")
    if constraint == message:
        return f"{name}: {message}."
    return f"{name} must be {constraint}. Got {_short(found)} instead."


def _short(found: Mapping[str, Any]) -> str:
    text = repr(found.get("input"))
    return text if len(text) <= 80 else f"{text[:80]}..."
