"""Flow control between client and machine: neither side is read faster than the other side accepts data.

mitmproxy waits for all sockets before it reads from any of them, so that one direction of a WebSocket blocks the
other, and it buffers without limit what a closed HTTP/2 window holds back. Here a machine's connection waits for the
client's socket and for its stream's window, and a client's connection waits for the machines' sockets. An HTTP/2
client is always read, because its WINDOW_UPDATE frames must arrive; the windows of its streams limit its uploads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeGuard

from mitmproxy.connection import Connection
from mitmproxy.proxy import events
from mitmproxy.proxy.server import ConnectionIO

from simulator.proxy.http.edge_layer import ABANDONED, LINGER_SECONDS, EdgeLayer
from simulator.proxy.http.http2 import SendWindowUpdates
from simulator.proxy.transport.bug_handling import BugReportingHandler, bugs_reported

READ_BYTES = 64 * 1024
"""How much is received from a socket at once; asyncio receives 256 KiB."""

MAX_READS_PER_TURN = 16
"""How many pieces of data from a client and its machines are processed per turn of the event loop."""


class Turns:
    """Admits MAX_READS_PER_TURN waits per turn of the event loop, in their order; the others wait for the next turn."""

    def __init__(self) -> None:
        self._left = MAX_READS_PER_TURN
        self._queue: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        loop = asyncio.get_running_loop()
        if self._left == MAX_READS_PER_TURN:
            loop.call_soon(self._begin)
        if self._left:
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._queue.append(turn)
        await turn

    def _begin(self) -> None:
        self._left = MAX_READS_PER_TURN
        while self._queue and self._left:
            turn = self._queue.popleft()
            if not turn.done():  # else its connection has closed
                turn.set_result(None)
                self._left -= 1
        if self._left < MAX_READS_PER_TURN:
            asyncio.get_running_loop().call_soon(self._begin)


class FlowControlledHandler(BugReportingHandler):
    """mitmproxy's connection handler, with flow control for each connection."""

    _edge: EdgeLayer | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._window_updates: dict[int, asyncio.Task[None]] = {}
        """The tasks that will open a stream's window again, by stream."""
        self._turns = Turns()
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    @bugs_reported
    async def handle_client(self) -> None:
        try:
            await super().handle_client()
        finally:
            for task in self._window_updates.values():
                task.cancel()

    async def server_event(self, event: events.Event) -> None:
        await super().server_event(event)
        for waiting, condition in self._waiting.items():
            if not waiting.done() and condition():
                waiting.set_result(None)

    def limit_reads(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let this connection take turns with those of other clients, and keep little of what arrives meanwhile."""
        _limit_close(writer)
        writer.transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        reader._limit = READ_BYTES // 2  # type: ignore[attr-defined] # it stops to receive above twice this number
        read = reader.read

        async def read_in_turn(size: int = -1) -> bytes:
            if not reader._buffer and not reader.at_eof() and reader.exception() is None:  # type: ignore[attr-defined]
                await reader._wait_for_data("read")  # type: ignore[attr-defined]
            await self._turns.wait()  # without data: it would be lost if the task is canceled
            return await read(size)

        reader.read = read_in_turn  # type: ignore[assignment,method-assign]

    async def drain_writers(self) -> None:
        """Called by the task of each connection after it has processed what it read."""
        task, edge = asyncio.current_task(), self._find_edge()
        if edge is None:
            await self._drain(self.client)
        elif task is self._client_task():
            if edge.awaits_turn(self.client):
                await self._wait_until(lambda: not edge.awaits_turn(self.client))
            await self._throttle_client(edge)
        else:
            connection = self._connection_of(task)
            if edge.awaits_turn(connection):
                await self._wait_until(lambda: not edge.awaits_turn(connection))
            await self._drain(self.client)
            if edge.is_http2:
                await self._wait_until(lambda: not edge.is_backlog_full(connection))

    async def _throttle_client(self, edge: EdgeLayer) -> None:
        if not edge.is_http2:
            await self._drain_machines()
            await self._wait_until(lambda: not edge.is_client_ahead)
        for stream_id in edge.received_streams:
            if stream_id not in self._window_updates:
                task = asyncio.create_task(self._open_window(edge, stream_id), name="window update")
                self._window_updates[stream_id] = task
        if not edge.is_tunnel:
            await self._drain(self.client)

    @bugs_reported
    async def _open_window(self, edge: EdgeLayer, stream_id: int) -> None:
        """Open a stream's window again once its machine has read what the client sent."""
        await self._wait_until(lambda: not edge.is_upload_buffer_full(stream_id))
        machine = edge.machine_of(stream_id)
        if machine is not None and self._is_unsent(machine):
            await _first_of(
                self._drain(machine), self._wait_until(lambda: edge.machine_of(stream_id) is None)
            )
        del self._window_updates[stream_id]
        await self.server_event(SendWindowUpdates(stream_id))

    def close_connection(self, connection: Connection, half_close: bool = False) -> None:
        """Also end the wait of the client's task for a machine that reads no more of an abandoned upload."""
        super().close_connection(connection, half_close)
        writer = self.transports[connection].writer
        if (
            connection.error == ABANDONED
            and isinstance(writer, asyncio.StreamWriter)
            and _needs_drain(writer)
        ):
            writer.transport.abort()

    async def _drain_machines(self) -> None:
        for connection in tuple(self.transports):
            if connection is not self.client:
                await self._drain(connection)

    def _is_unsent(self, connection: Connection) -> bool:
        transport = self.transports.get(connection)
        return transport is not None and _needs_drain(transport.writer)

    async def _drain(self, connection: Connection) -> None:
        transport = self.transports.get(connection)
        if transport is None or not _needs_drain(transport.writer):
            return
        try:
            await transport.writer.drain()
        except OSError as error:
            if transport.handler is not None and (connection is self.client or _is_fully_read(transport)):
                transport.handler.cancel(f"Error sending data: {error}")

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` is true. It is checked after each event, so it must be cheap."""
        while not condition():
            waiting = asyncio.get_running_loop().create_future()
            self._waiting[waiting] = condition
            try:
                await waiting
            finally:
                del self._waiting[waiting]

    def _client_task(self) -> asyncio.Task[None] | None:
        client = self.transports.get(self.client)  # absent while the machines' connections are being closed
        return client.handler if client is not None else None

    def _connection_of(self, task: asyncio.Task[None] | None) -> Connection | None:
        return next((key for key, io in self.transports.items() if io.handler is task), None)

    def _find_edge(self) -> EdgeLayer | None:
        layer: object = self.layer
        while self._edge is None and layer is not None:
            if isinstance(layer, EdgeLayer):
                self._edge = layer
                if not self.client.tls:
                    self.layer = layer  # the layers above it only pass events on
            layer = getattr(layer, "child_layer", None) or getattr(layer, "layer", None)
        return self._edge


async def _first_of(*waits: Coroutine[Any, Any, None]) -> None:
    """Wait until one of `waits` ends, and cancel the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _limit_close(writer: asyncio.StreamWriter) -> None:
    """Let a closed socket send what is written for at most LINGER_SECONDS: the other side may never read it."""
    close, transport = writer.close, writer.transport

    def close_in_time() -> None:
        close()
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)

    writer.close = close_in_time  # type: ignore[method-assign]


def _needs_drain(writer: object) -> TypeGuard[asyncio.StreamWriter]:
    """Whether the socket still has data to write, or is closing."""
    return isinstance(writer, asyncio.StreamWriter) and (
        writer.transport.get_write_buffer_size() > 0 or writer.transport.is_closing()
    )


def _is_fully_read(transport: ConnectionIO) -> bool:
    """Whether everything that a machine sent before its connection failed has been read."""
    return not isinstance(transport.reader, asyncio.StreamReader) or transport.reader.at_eof()
