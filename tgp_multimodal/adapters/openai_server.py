"""The way to a server that speaks OpenAI's interface: JSON over HTTP, and patience."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

_TRIES = 7  # with the pauses below, 16 seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0  # seconds
_TIMEOUT = 600.0  # seconds without a byte
_LATER = {408, 409, 425, 429, 502, 503, 504}  # said of the moment, not of what was asked
_AGAIN = _LATER | {500}  # which some servers say of what they do not offer
_REDIRECTS = {301, 302, 303, 307, 308}
_TOO_LONG = "context_length_exceeded"


class RefusedError(ValueError):
    """The server does not answer this, however often it is asked.

    Attributes:
        is_too_long: whether the text is longer than the context.
        is_transient: whether it might answer the same another day: a quota is used up, or nobody
            is there.
    """

    def __init__(self, message: str, is_too_long: bool = False, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_too_long, self.is_transient = is_too_long, is_transient


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows none: urllib would send the token to another host, and make a POST a GET."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Server:
    """A server at an address, which answers itself: no redirect is followed.

    Args:
        address: base URL, which ends in /v1 as a rule.
        key: sent as the bearer token, without the white space around it; None: none is.
        sleep: waits so many seconds.

    Raises:
        ValueError: the address is none, or the key is none that a header can hold.
    """

    def __init__(
        self, address: str, key: str | None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if not _is_address(address):
            raise ValueError(
                "openai model must be ADDRESS#MODEL, like http://127.0.0.1:8000/v1#nano."
                f" Got {address} instead."
            )
        self.address, self.key, self.sleep = address.rstrip("/"), _sound(key), sleep
        self.opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a GET, or with content to a POST.

        Where there is no answer, or one that says "later", it asks again after a pause, each twice
        as long as the one before or as long as the server wants.

        Raises:
            RefusedError: the server refuses, or does not answer.
        """
        pause = _FIRST_PAUSE
        for left in reversed(range(_TRIES)):
            try:
                return self._once(path, content)
            except urllib.error.HTTPError as error:
                refusal, wanted = _refusal(path, error), error.headers.get("Retry-After", "")
                if error.code not in _AGAIN or not left:
                    raise refusal from None
                if wanted.isdigit():
                    pause = max(pause, float(wanted))
            # No connection, one that broke, or no JSON.
            except (OSError, http.client.HTTPException, ValueError) as error:
                if not left:
                    raise RefusedError(
                        f"server must answer at {self.address}. Got {error} instead.",
                        is_transient=not isinstance(error, ValueError),
                    ) from None
            self.sleep(min(pause, _LONGEST_PAUSE))
            pause *= 2
        raise AssertionError("the last try raises")

    def _once(self, path: str, content: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.address}/{path}", data, headers)
        with self.opener.open(request, timeout=_TIMEOUT) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


def _is_address(address: str) -> bool:
    try:
        place = urlsplit(address)
        return place.scheme in ("http", "https") and bool(place.hostname) and place.port != 0
    except ValueError:  # of a port that is no number, or too large
        return False


def _sound(key: str | None) -> str | None:
    """The key as it can be sent. It is secret: an error quotes nothing of it."""
    if key is None:
        return None
    key = key.strip()
    for place, character in enumerate(key, 1):
        if not (character.isascii() and character.isprintable()):
            kind = "a control character" if character.isascii() else "one that is not ASCII"
            raise ValueError(
                "key of the server (OPENAI_API_KEY) must be of printable ASCII characters."
                f" Got {kind} at place {place} instead."
            )
    return key


def _refusal(path: str, error: urllib.error.HTTPError) -> RefusedError:
    if error.code in _REDIRECTS and (place := error.headers.get("Location")):
        error.close()
        place = urljoin(error.url, place)[:300]
        return RefusedError(
            f"{path} must be answered by the server itself. Got a redirect to {place} instead"
            " (name its base as the address)."
        )
    with error:
        try:
            text = error.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):  # cut off on its way
            text = ""
    try:
        content = json.loads(text)
        content = content.get("error", content)
        message, code = str(content.get("message", text)), content.get("code")
    except (ValueError, AttributeError):
        message, code = text, None
    # As OpenAI, vLLM and llama.cpp say it.
    says_so = any(words in message for words in ("context length", "context size"))
    is_too_long = code == _TOO_LONG or says_so
    return RefusedError(
        f"{path} must be answered. Got {error.code} instead: {message[:300]}",
        is_too_long,
        error.code in _LATER,
    )
