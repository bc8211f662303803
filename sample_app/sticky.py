"""Sticky routing middleware: replays every request and WebSocket upgrade to the machine that it names.

It is pure ASGI and wraps the framework's routes, because framework middleware often handles plain requests only: then
the page and its WebSocket would be on different machines. An upgrade gets its response before it is accepted, through
the extension `websocket.http.response` (F-1.86), so that it can be replayed.

By default it follows the write-up: it has no guard against machines that no longer exist, and none against loops.
`decide_guarded` has both.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "fly-machine-id"
PARAMETER = "instance"
# A request with one of these headers was replayed before, or its replay failed (F-1.41, F-1.54, F-1.46).
REPLAYED_BEFORE = ("fly-replay-src", "fly-replay-failed", "fly-preferred-instance-unavailable")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pass:
    """This machine handles the request; `sets_cookie` pins the client to it."""

    reason: str
    sets_cookie: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """Another machine should handle the request."""

    reason: str
    machine_id: str
    selector: str = "instance"


def decide(own_id: str, parameter: str | None, cookie: str | None) -> Pass | Replay:
    """The first matching case decides. The parameter takes precedence over the cookie."""
    if parameter == own_id:
        return Pass(
            f"Correct machine based on parameter {own_id}. Set cookie and let pass.", sets_cookie=True
        )
    if parameter:
        return Replay(f"Incorrect machine {own_id} based on parameter {parameter}. Redirect.", parameter)
    if cookie == own_id:
        return Pass(f"Correct machine based on cookie {own_id}. Let pass.")
    if cookie:
        return Replay(f"Incorrect machine {own_id} based on cookie {cookie}. Redirect.", cookie)
    return Pass("No parameter or cookie. Let pass.")


def decide_guarded(
    own_id: str, parameter: str | None, cookie: str | None, *, replayed_before: bool
) -> Pass | Replay:
    """Like `decide`, but accepts only valid machine ids, replays once, and tolerates machines that no longer exist.

    With `prefer_instance` the proxy chooses another machine if the named one is unavailable (F-1.46). That machine
    serves the viewer and resets the cookie to itself. Guards: F-1.40.
    """
    decision = decide(own_id, _machine_id(parameter), _machine_id(cookie))
    if isinstance(decision, Pass):
        return decision
    if replayed_before:
        return Pass(f"Cannot reach machine {decision.machine_id}. Set cookie and let pass.", sets_cookie=True)
    return Replay(decision.reason, decision.machine_id, selector="prefer_instance")


def _machine_id(text: str | None) -> str | None:
    return text if text and re.fullmatch("[0-9a-f]{14}", text) else None


class StickyRouting:
    """ASGI middleware that replays a request or passes it to the app."""

    def __init__(
        self, app: ASGIApp, *, own_id: str, cookie_max_age_seconds: int, is_guarded: bool = False
    ) -> None:
        self._app = app
        self._own_id = own_id
        self._is_guarded = is_guarded
        self._cookie = (
            f"{COOKIE}={own_id}; Max-Age={cookie_max_age_seconds}; Path=/; HttpOnly; SameSite=Lax".encode(
                "latin-1"
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        decision = self._decide(HTTPConnection(scope))
        log.info(decision.reason)
        if isinstance(decision, Replay):
            response = replay_response(decision.machine_id, decision.selector)
            await response(scope, receive, send)
        elif decision.sets_cookie:
            await self._app(scope, receive, self._with_cookie(send))
        else:
            await self._app(scope, receive, send)

    def _decide(self, request: HTTPConnection) -> Pass | Replay:
        query = parse_qs(request.scope["query_string"].decode("latin-1"))
        parameter = _sendable(query.get(PARAMETER, [""])[-1])
        cookie = _sendable(request.cookies.get(COOKIE, ""))
        if self._is_guarded:
            return decide_guarded(self._own_id, parameter, cookie, replayed_before=was_replayed(request))
        return decide(self._own_id, parameter, cookie)

    def _with_cookie(self, send: Send) -> Send:
        async def send_with_cookie(message: Message) -> None:
            if message["type"] in (
                "http.response.start",
                "websocket.accept",
                "websocket.http.response.start",
            ):
                message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", self._cookie)]}
            await send(message)

        return send_with_cookie


def _sendable(text: str) -> str | None:
    """Rejects values with characters that could end a header or a log line."""
    return text if text and text.isascii() and text.isprintable() else None


def was_replayed(request: HTTPConnection) -> bool:
    return any(name in request.headers for name in REPLAYED_BEFORE)


def replay_response(machine_id: str, selector: str = "instance") -> PlainTextResponse:
    """Response to a plain request or to an upgrade; Starlette supports both."""
    return PlainTextResponse("redirecting...", 307, headers={"fly-replay": f"{selector}={machine_id}"})
