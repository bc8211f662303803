"""How fast each side may send: nobody is read from faster than the other side takes it.

mitmproxy waits for all sockets before it reads on from any, which stops a WebSocket's one direction for the other,
and it keeps what an HTTP/2 client's closed window holds back without bound. Here a machine's connection waits for
the client's socket and for its own stream's window, a client's connection for the machines' sockets; a client of
HTTP/2 is always read from, because its windows open that way, and is granted room to upload instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeGuard

from mitmproxy.connection import Connection
from mitmproxy.proxy import events
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionIO

from simulator.proxy.http.connections import GrantUploads
from simulator.proxy.http.edge_layer import EdgeLayer

MAX_HELD_BYTES = 1024 * 1024
"""How much of a response is kept for a stream of HTTP/2 whose window is closed."""


class FlowControlledHandler(ProxyConnectionHandler):
    """Waits where mitmproxy's own would keep too much, and only there."""

    _edge: EdgeLayer | None = None
    _granting: asyncio.Task[None] | None = None
    _moved: asyncio.Future[None] | None = None

    async def handle_client(self) -> None:
        try:
            await super().handle_client()
        finally:
            if self._granting is not None:
                self._granting.cancel()

    async def server_event(self, event: events.Event) -> None:
        await super().server_event(event)
        if self._moved is not None:
            self._moved.set_result(None)
            self._moved = None

    async def drain_writers(self) -> None:
        """Called by the task of each connection after it has passed on what it read."""
        task, edge = asyncio.current_task(), self._find_edge()
        if edge is None:
            await self._drain(self.client)
        elif task is self._client_task():
            await self._pace_client(edge)
        else:
            await self._drain(self.client)
            if edge.is_http2:
                connection = self._connection_of(task)
                await self._until(lambda: edge.held_bytes(connection) < MAX_HELD_BYTES)

    async def _pace_client(self, edge: EdgeLayer) -> None:
        if not edge.is_http2:
            await self._drain_machines()
            await self._until(lambda: not edge.holds_uploads)
        elif edge.owes_windows and (self._granting is None or self._granting.done()):
            self._granting = asyncio.create_task(self._grant(edge), name="grant uploads")
        if not edge.is_tunnel:
            await self._drain(self.client)

    async def _grant(self, edge: EdgeLayer) -> None:
        """Open the client's windows again once the machines took what it sent."""
        await self._until(lambda: not edge.holds_uploads)
        await self._drain_machines()
        await self.server_event(GrantUploads())

    async def _drain_machines(self) -> None:
        for connection in tuple(self.transports):
            if connection is not self.client:
                await self._drain(connection)

    async def _drain(self, connection: Connection) -> None:
        transport = self.transports.get(connection)
        if transport is None or not _wants_draining(transport.writer):
            return
        try:
            await transport.writer.drain()
        except OSError as error:
            if transport.handler is not None and (connection is self.client or _is_read(transport)):
                transport.handler.cancel(f"Error sending data: {error}")

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that only another event can bring about."""
        while not condition():
            if self._moved is None:
                self._moved = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._moved)

    def _client_task(self) -> asyncio.Task[None] | None:
        client = self.transports.get(self.client)  # gone while the machines' connections are being closed
        return client.handler if client is not None else None

    def _connection_of(self, task: asyncio.Task[None] | None) -> Connection | None:
        return next((key for key, io in self.transports.items() if io.handler is task), None)

    def _find_edge(self) -> EdgeLayer | None:
        layer: object = self.layer
        while self._edge is None and layer is not None:
            if isinstance(layer, EdgeLayer):
                self._edge = layer
            layer = getattr(layer, "child_layer", None) or getattr(layer, "layer", None)
        return self._edge


def _wants_draining(writer: object) -> TypeGuard[asyncio.StreamWriter]:
    """Whether the socket did not take everything at once, or broke."""
    return isinstance(writer, asyncio.StreamWriter) and (
        writer.transport.get_write_buffer_size() > 0 or writer.transport.is_closing()
    )


def _is_read(transport: ConnectionIO) -> bool:
    """Whether all that a machine sent before its connection broke has been read."""
    return not isinstance(transport.reader, asyncio.StreamReader) or transport.reader.at_eof()
