"""Brings every request, WebSocket upgrades included, to the machine that it names.

Pure ASGI and in front of the framework's routes, because a middleware that a framework calls for plain requests
only lets upgrades slip by: the page would come from one machine and its socket from another. An upgrade is
answered before it is accepted, by the `websocket.http.response` extension (F-1.86), so that it can be replayed.

By default it behaves as the write-up that it follows: it has no guard against a machine that is gone, nor
against a loop. The guarded table is below the plain one.
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
# A request with any of these has been replayed before, or could not be (F-1.41, F-1.54, F-1.46).
REPLAYED_BEFORE = ("fly-replay-src", "fly-replay-failed", "fly-preferred-instance-unavailable")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pass:
    """This machine answers; `sets_cookie` pins the client to it."""

    reason: str
    sets_cookie: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """Another machine is to answer."""

    reason: str
    machine_id: str
    selector: str = "instance"


def decide(own_id: str, parameter: str | None, cookie: str | None) -> Pass | Replay:
    """The first case that fits; the parameter is asked before the cookie."""
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
    """As `decide`, but names only what can be a machine, replays only once, and lets a machine that is gone go.

    `prefer_instance` has the proxy choose another machine where that one cannot be had (F-1.46); whichever it
    is takes the viewer in, and resets the cookie to itself. Guards: F-1.40.
    """
    verdict = decide(own_id, _machine_id(parameter), _machine_id(cookie))
    if isinstance(verdict, Pass):
        return verdict
    if replayed_before:
        return Pass(f"No way to machine {verdict.machine_id}. Set cookie and let pass.", sets_cookie=True)
    return Replay(verdict.reason, verdict.machine_id, selector="prefer_instance")


def _machine_id(text: str | None) -> str | None:
    return text if text and re.fullmatch("[0-9a-f]{14}", text) else None


class StickyRouting:
    """The middleware: reads the request, decides, and replays or lets pass."""

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
        verdict = self._decide(HTTPConnection(scope))
        log.info(verdict.reason)
        if isinstance(verdict, Replay):
            response = replay_response(verdict.machine_id, verdict.selector)
            await response(scope, receive, send)
        elif verdict.sets_cookie:
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
    """What could end a header or a log line early cannot be anybody's id."""
    return text if text and text.isascii() and text.isprintable() else None


def was_replayed(request: HTTPConnection) -> bool:
    return any(name in request.headers for name in REPLAYED_BEFORE)


def replay_response(machine_id: str, selector: str = "instance") -> PlainTextResponse:
    """For a plain request and for an upgrade alike: Starlette sends it as either."""
    return PlainTextResponse("redirecting...", 307, headers={"fly-replay": f"{selector}={machine_id}"})
