"""WebSocket client of a scenario: opens a connection through an edge and receives messages in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from simulator.results import ClientResponse
from simulator.scenario.client.http import (
    Client,
    Headers,
    ResolvedTarget,
    find_header,
    resolve_target,
    trust_all_tls_context,
)

_SCHEMES = {"http": "ws", "https": "wss"}
_NO_LIMIT = None


@dataclass(frozen=True, slots=True)
class WebSocketRequest:
    """A WebSocket handshake to send. `target` is a path or a URL."""

    target: str
    headers: Headers = ()
    subprotocols: Sequence[str] = ()
    timeout_seconds: float = 30.0


class WebSocketConnection:
    """An open WebSocket. It keeps all received messages, in order; `cursor` is the first one not yet checked."""

    def __init__(self, connection: ClientConnection, response: ClientResponse) -> None:
        self.response = response
        self.messages: list[str | bytes] = []
        self.cursor = 0
        self._connection = connection
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self._connection:
                self.messages.append(message)
                self._changed.set()
        except ConnectionClosed:
            pass
        finally:
            self._changed.set()

    @property
    def is_closed(self) -> bool:
        return self._reader.done()

    @property
    def close_code(self) -> int | None:
        return self._connection.close_code

    @property
    def close_reason(self) -> str:
        return self._connection.close_reason or ""

    async def send(self, message: str | bytes) -> None:
        """Raises ConnectionClosed."""
        await self._connection.send(message)

    async def wait(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Wait until `condition` holds. Returns False if the connection closes or at `deadline` (time.monotonic())."""
        while not condition():
            if self.is_closed or time.monotonic() >= deadline:
                return False
            self._changed.clear()
            waiting = asyncio.create_task(self._changed.wait())
            await asyncio.wait(
                {waiting, self._reader}, timeout=deadline - time.monotonic(), return_when="FIRST_COMPLETED"
            )
            waiting.cancel()
        return True

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)
        await self._reader


async def open_websocket(
    client: Client, request: WebSocketRequest, edge_url: str
) -> tuple[ClientResponse, WebSocketConnection | None]:
    """Send a handshake. Failures are not raised: they are in the response, and the connection is None."""
    headers = client.merge_headers(request.headers)
    target = _resolve_websocket_target(request.target, edge_url, headers)
    response = ClientResponse(f"WebSocket {request.target}")
    client.record_sent_cookies(response, target.url)
    started = client.clock.now()
    connection = None
    try:
        async with asyncio.timeout(request.timeout_seconds):
            connection = await _connect(client, request, target, headers)
        _set_head(response, 101, connection.response.headers.raw_items() if connection.response else ())
        response.subprotocol = connection.subprotocol
    except InvalidStatus as error:
        _set_head(response, error.response.status_code, error.response.headers.raw_items())
        response.body = bytes(error.response.body or b"")
    except TimeoutError:
        response.failure, response.failure_text = (
            "timeout",
            f"no handshake response within {request.timeout_seconds:g} s",
        )
    except (OSError, InvalidHandshake, EOFError) as error:
        response.failure, response.failure_text = "disconnect", f"the handshake failed: {error}"
    response.elapsed_seconds = client.clock.now() - started
    client.store_cookies(response, target.url)
    return response, WebSocketConnection(connection, response) if connection else None


def _resolve_websocket_target(target: str, edge_url: str, headers: Headers) -> ResolvedTarget:
    found = resolve_target(target, edge_url, host=find_header(headers, "host"))
    parts = urlsplit(found.url)
    return ResolvedTarget(
        urlunsplit(parts._replace(scheme=_SCHEMES.get(parts.scheme, parts.scheme))), found.connect_url
    )


async def _connect(
    client: Client, request: WebSocketRequest, target: ResolvedTarget, headers: Headers
) -> ClientConnection:
    edge = urlsplit(target.connect_url)
    secure: dict[str, Any] = {"ssl": trust_all_tls_context()} if target.is_tls else {}
    return await connect(
        target.url,
        host=edge.hostname,
        port=edge.port,
        proxy=None,
        origin=_origin(target, headers),  # type: ignore[arg-type] # a NewType of str
        additional_headers=[
            *(pair for pair in headers if pair[0].lower() not in {"host", "origin"}),
            *client.cookie_headers(target.url, headers),
        ],
        subprotocols=[Subprotocol(name) for name in request.subprotocols] or None,
        open_timeout=None,
        ping_interval=None,
        max_size=_NO_LIMIT,
        max_queue=_NO_LIMIT,
        **secure,
    )


def _origin(target: ResolvedTarget, headers: Headers) -> str:
    """Return the `Origin` that a browser sends from a page of the same host."""
    page = "https" if target.is_tls else "http"
    return find_header(headers, "origin") or f"{page}://{target.host_header}"


def _set_head(response: ClientResponse, status: int, headers: Any) -> None:
    response.status = status
    response.headers = tuple(headers)
