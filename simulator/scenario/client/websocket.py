"""A visitor's WebSocket: opened through an edge, read in the background, kept open between steps if it has a name."""

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
    Destination,
    Headers,
    find_destination,
    find_header,
    trusting_tls,
)

_SCHEMES = {"http": "ws", "https": "wss"}
_NO_LIMIT = None


@dataclass(frozen=True, slots=True)
class Dial:
    """A WebSocket to be opened."""

    target: str
    headers: Headers = ()
    subprotocols: Sequence[str] = ()
    timeout_seconds: float = 30.0


class OpenSocket:
    """Every message that has come is kept, in order; `cursor` is how far steps have looked."""

    def __init__(self, connection: ClientConnection, answer: ClientResponse) -> None:
        self.answer = answer
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

    async def wait(self, is_enough: Callable[[], bool], deadline: float) -> bool:
        """Until `is_enough`, or nothing more can come, or the deadline on time.monotonic(); whether it was enough."""
        while not is_enough():
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


async def open_socket(client: Client, dial: Dial, edge_url: str) -> tuple[ClientResponse, OpenSocket | None]:
    """Never raises for what the network does: a handshake that was refused is an answer without a socket."""
    headers = client.all_headers(dial.headers)
    destination = _destination(dial.target, edge_url, headers)
    answer = ClientResponse(f"WebSocket {dial.target}")
    client.describe_cookies(answer, destination.url)
    started = client.clock.now()
    connection = None
    try:
        async with asyncio.timeout(dial.timeout_seconds):
            connection = await _connect(client, dial, destination, headers)
        _take_head(answer, 101, connection.response.headers.raw_items() if connection.response else ())
        answer.subprotocol = connection.subprotocol
    except InvalidStatus as error:
        _take_head(answer, error.response.status_code, error.response.headers.raw_items())
        answer.body = bytes(error.response.body or b"")
    except TimeoutError:
        answer.failure, answer.failure_text = "timeout", f"no handshake within {dial.timeout_seconds:g} s"
    except (OSError, InvalidHandshake, EOFError) as error:
        answer.failure, answer.failure_text = "disconnect", f"the handshake failed: {error}"
    answer.elapsed_seconds = client.clock.now() - started
    client.note_cookies(answer, destination.url)
    return answer, OpenSocket(connection, answer) if connection else None


def _destination(target: str, edge_url: str, headers: Headers) -> Destination:
    found = find_destination(target, edge_url, host=find_header(headers, "host"))
    parts = urlsplit(found.url)
    return Destination(
        urlunsplit(parts._replace(scheme=_SCHEMES.get(parts.scheme, parts.scheme))), found.connect
    )


async def _connect(
    client: Client, dial: Dial, destination: Destination, headers: Headers
) -> ClientConnection:
    edge = urlsplit(destination.connect)
    secure: dict[str, Any] = {"ssl": trusting_tls()} if destination.is_tls else {}
    return await connect(
        destination.url,
        host=edge.hostname,
        port=edge.port,
        proxy=None,
        origin=_origin(destination, headers),  # type: ignore[arg-type] # a NewType of str
        additional_headers=[
            *(pair for pair in headers if pair[0].lower() not in {"host", "origin"}),
            *client.cookie_headers(destination.url, headers),
        ],
        subprotocols=[Subprotocol(name) for name in dial.subprotocols] or None,
        open_timeout=None,
        ping_interval=None,
        max_size=_NO_LIMIT,
        max_queue=_NO_LIMIT,
        **secure,
    )


def _origin(destination: Destination, headers: Headers) -> str:
    """What a browser says of the page that opens the socket: one of the same host."""
    page = "https" if destination.is_tls else "http"
    return find_header(headers, "origin") or f"{page}://{destination.host_field}"


def _take_head(answer: ClientResponse, status: int, headers: Any) -> None:
    answer.status = status
    answer.headers = tuple(headers)
