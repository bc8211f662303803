"""Request log of this machine's own responses: `GET /`, `Sent 200 in 1ms`, `CONNECTED TO /ws in 34µs`.

Each line is written before its response is sent, so that the merged log of many machines is in causal order.
"""

from __future__ import annotations

import logging
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)


class RequestLog:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()

        async def log_and_send(message: Message) -> None:
            line = _line_about(message, scope["path"])
            if line:
                log.info("%s in %s", line, duration_text(perf_counter() - began))
            await send(message)

        if scope["type"] == "http":
            log.info("%s %s", scope["method"], printable(scope["path"]))
        await self._app(scope, receive, log_and_send)


def _line_about(message: Message, path: str) -> str | None:
    if message["type"] == "http.response.start":
        return f"Sent {message['status']}"
    if message["type"] == "websocket.accept":
        return f"CONNECTED TO {printable(path)}"
    return None


def printable(path: str) -> str:
    return path if path.isprintable() else ascii(path)


def duration_text(seconds: float) -> str:
    """Whole microseconds below one millisecond, otherwise whole milliseconds."""
    microseconds = round(seconds * 1_000_000)
    return f"{microseconds}µs" if microseconds < 1000 else f"{microseconds // 1000}ms"
