"""Limits and media type of request bodies, checked before an endpoint runs.

The whole body is read here, so that no endpoint, not even one that ignores its body, receives more than MAX_BODY_BYTES
or anything but JSON. A body that is refused is not read to its end: the connection closes after the response.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulator.dashboard.responses import ApiError, Refusal

MAX_BODY_BYTES = 2**20
BODY_SECONDS = 10.0
"""How long a client may take to send a body."""


class RequestBodies:
    """ASGI middleware. 413: the body is too large; 415: it is not declared as JSON; 408: it does not arrive in time."""

    def __init__(self, app: ASGIApp, *, seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if not has_body(headers):
            await self._app(scope, receive, send)
            return
        try:
            _check_declared_size(headers)
            async with asyncio.timeout(self._seconds):
                body = await _read(receive)
            if body:
                _check_media_type(headers)
        except TimeoutError:
            problem = f"the body did not arrive within {self._seconds:g} s"
            await Refusal(headers, 408, problem)(scope, receive, send)
        except ApiError as error:
            await Refusal(headers, error.status, str(error))(scope, receive, send)
        else:
            if body is not None:
                await self._app(scope, _replay(body, receive), send)


def has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


def _check_declared_size(headers: Headers) -> None:
    declared = headers.get("content-length", "0")  # h11 has checked that these are at most 20 digits.
    if int(declared) > MAX_BODY_BYTES:
        raise _too_large(declared)


async def _read(receive: Receive) -> bytes | None:
    """None if the client has disconnected."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _too_large(f"more than {MAX_BODY_BYTES}")
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(size: str) -> ApiError:
    return ApiError(413, f"the body has {size} bytes; expected at most {MAX_BODY_BYTES}")


def _check_media_type(headers: Headers) -> None:
    given = headers.get("content-type")
    if (given or "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, f"Content-Type is {given or 'missing'}; expected application/json for a body")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that first returns the body that was read."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
