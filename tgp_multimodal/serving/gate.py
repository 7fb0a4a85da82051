"""What every request passes first: checks of its token, its host and the size of its body."""

import asyncio
import hmac
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tgp_multimodal.serving.errors import ApiError, as_response

_DROPPED = 32_000_000  # bytes that are read before a client is cut off while it sends
_OPEN = "/health"  # needs no token: says that the server is up, and how many requests it has


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Gate:
    """Refuses wrong tokens (401), other sites' pages (403, 415) and large bodies (413).

    Without a token only requests that name this machine as their host are let in, which stops DNS
    rebinding: a page of another site, whose name was made to point here, names its own.

    Args:
        application: what lies behind the gate.
        token: expected in `Authorization: Bearer`; None: none is needed.
        body: most bytes of a request's body.
    """

    def __init__(self, application: ASGIApp, token: str | None, body: int) -> None:
        self.application, self.token, self.body = application, token, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.application(scope, receive, send)
        try:
            self._check_sender(scope)
            content = await self._read_body(scope, receive)
        except ApiError as error:
            return await as_response(error)(scope, receive, send)
        tracked = _TrackedSend(send)
        try:
            await self.application(scope, _replayed(content, receive), tracked)
        except asyncio.CancelledError:  # by the server, which closes and can wait no longer
            if not tracked.has_begun:
                closing = ApiError(503, "server must be open. Got one that closes instead.")
                await as_response(closing)(scope, receive, send)
            elif not tracked.has_ended:
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _check_sender(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            # A browser lets any page send other kinds without asking the server first.
            raise ApiError(
                415, f"content-type must be application/json. Got {kind or 'none'} instead."
            )
        if self.token is None:
            host = headers.get(b"host", b"").decode("latin-1")
            if not is_loopback(_host_name(host)):
                raise ApiError(
                    403, f"host must be this machine, for there is no token. Got {host} instead."
                )
        elif scope["path"] != _OPEN:
            expected = f"Bearer {self.token}".encode()
            if not hmac.compare_digest(headers.get(b"authorization", b""), expected):
                raise ApiError(
                    401,
                    "token must be that of the server. Got another one, or none, instead.",
                    headers={"WWW-Authenticate": "Bearer"},
                )

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, read here so that its length is known before anything is done.

        The rest of a body that is too large is read and dropped, up to a limit: a client that is
        cut off while sending may never read the error.
        """
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > max(self.body, _DROPPED):
            raise self._too_large(int(said))
        content, length, goes_on = bytearray(), 0, True
        while goes_on and length <= max(self.body, _DROPPED):
            message = await receive()
            piece, goes_on = message.get("body", b""), message.get("more_body", False)
            length += len(piece)
            if length <= self.body:
                content += piece
        if length > self.body:
            raise self._too_large(f"{length} and more" if goes_on else length)
        return bytes(content)

    def _too_large(self, got: Any) -> ApiError:
        message = f"body must be at most {self.body} bytes. Got {got} instead."
        return ApiError(413, message, code="request_too_large", headers={"Connection": "close"})


def _host_name(host: str) -> str:
    """The name in a Host header, without its port; empty where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # a bracket that is not closed
        return ""


class _TrackedSend:
    """Sends, and knows how far the answer is."""

    def __init__(self, send: Send) -> None:
        self.send, self.has_begun, self.has_ended = send, False, False

    async def __call__(self, message: Message) -> None:
        self.has_begun = True
        is_body = message["type"] == "http.response.body"
        self.has_ended = is_body and not message.get("more_body", False)
        await self.send(message)


def _replayed(content: bytes, receive: Receive) -> Receive:
    """Gives the body once, then what comes behind it: that the client has left."""
    is_first = True

    async def replay() -> Message:
        nonlocal is_first
        if is_first:
            is_first = False
            return {"type": "http.request", "body": content, "more_body": False}
        return await receive()

    return replay
