"""One HTTP connection of the control API: limits for slow clients, and headers of every response.

uvicorn limits the size of a request head (64 KiB) and the idle time after a response (5 s), but neither the number of
connections nor the time that a client takes to send a head.
"""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
HEAD_SECONDS = 10.0
"""How long a client may take to send a request head."""

RESPONSE_HEADERS = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
]
"""Every response has them, errors of uvicorn included: browsers neither store it, guess its type nor embed it."""


class Connection(H11Protocol):
    """Closes if MAX_CONNECTIONS are open already, or if a request head does not arrive within HEAD_SECONDS."""

    head_seconds = HEAD_SECONDS
    max_connections = MAX_CONNECTIONS
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._await_head()

    def on_response_complete(self) -> None:
        self._await_head()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._head_timer:
            self._head_timer.cancel()

    def _await_head(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(self.head_seconds, self._close_without_head, self.cycle)

    def _close_without_head(self, previous: object) -> None:
        """`previous`: the latest request when the wait began."""
        if self.cycle is previous:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's own is plain text without RESPONSE_HEADERS, and fails if a response has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": msg}).encode()
            headers = [
                *RESPONSE_HEADERS,
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
