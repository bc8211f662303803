"""The HTTP layer of an edge: mitmproxy's, with exchanges for streams and a pool of connections to machines.

It lives as long as one client connection. Differences from `HttpLayer`: a connection is looked up by its
machine's address and only when it is idle; one that failed or ended is forgotten, so that a machine that
comes back is seen by a keep-alive client; what a replayed-from connection still sends is dropped.
"""

from __future__ import annotations

from mitmproxy.connection import Connection, Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import (
    GetHttpConnection,
    GetHttpConnectionCompleted,
    HttpClient,
    HttpLayer,
    HTTPMode,
    RegisterHttpConnection,
)

from simulator.proxy.core import ProxyCore
from simulator.proxy.http.connections import (
    ClientConnection,
    DetachedConnection,
    GrantUploads,
    Http2ClientConnection,
    Http2MachineConnection,
    MachineConnection,
)
from simulator.proxy.http.exchange_stream import ExchangeStream, GetMachineConnection, ResumeExchange
from simulator.proxy.http.inspected_stream import InspectedStream
from simulator.proxy.http.websocket_tunnel import GoAway, Tunnel
from simulator.routing import Machine


class OpenMachineConnection(commands.OpenConnection):
    """Open a connection, but give up after so many seconds."""

    def __init__(self, connection: Server, machine: Machine, timeout_seconds: float) -> None:
        super().__init__(connection)
        self.machine = machine
        self.timeout_seconds = timeout_seconds


class MachineClient(HttpClient):
    """Opens a connection to a machine, then speaks HTTP/1.1 on it, or HTTP/2 where the service wants that (F-9.5)."""

    connection: MachineConnection | Http2MachineConnection | None = None

    def __init__(self, context: Context, machine: Machine, timeout_seconds: float, *, h2: bool) -> None:
        super().__init__(context)
        self._machine = machine
        self._timeout_seconds = timeout_seconds
        self.h2 = h2

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        error = yield OpenMachineConnection(self.context.server, self._machine, self._timeout_seconds)
        if not error:
            self.connection = (Http2MachineConnection if self.h2 else MachineConnection)(self.context)
            self._handle_event = self.connection.handle_event  # type: ignore[method-assign]
            yield from self.connection.handle_event(event)
        yield RegisterHttpConnection(self.context.server, error)


class EdgeLayer(HttpLayer):
    """All exchanges of one client connection."""

    def __init__(self, context: Context, core: ProxyCore, *, inspected: bool = False) -> None:
        super().__init__(context, HTTPMode.transparent)
        self.core = core
        self.inspected = inspected
        """Whether addons other than ours look on: then every flow is announced by mitmproxy's hooks."""
        self._tunnel: Tunnel | None = None
        self._to_resume: list[ExchangeStream] = []

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """One write for all that one event brings the client, such as a head and its body."""
        client, held = self.context.client, b""
        for command in self._take(event):
            if isinstance(command, commands.ConnectionCommand) and command.connection is client:
                if isinstance(command, commands.SendData):
                    held += command.data
                    continue
                if held:
                    yield commands.SendData(client, held)
                    held = b""
            yield command
        if held:
            yield commands.SendData(client, held)

    def _take(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.ConnectionEvent):
            if self._tunnel is not None and self._tunnel.owns(event.connection):
                yield from self._tunnel.pass_on(event)
            elif event.connection in self.connections:
                yield from super()._handle_event(event)
            if isinstance(event, events.ConnectionClosed) and event.connection is not self.context.client:
                self.connections.pop(event.connection, None)
        elif isinstance(event, GoAway):
            if self._tunnel is not None:
                yield from self._tunnel.go_away()
        elif isinstance(event, GrantUploads):
            yield from self.connections[self.context.client].grant()  # type: ignore[attr-defined]
        else:
            if isinstance(event, events.Start):
                self._meet_client()
            yield from super()._handle_event(event)
        while self._to_resume:
            yield from self.event_to_child(self._to_resume.pop(0), ResumeExchange())

    def _meet_client(self) -> None:
        if not self.is_http2:
            self.connections[self.context.client] = ClientConnection(self.context.fork())
        elif not self.inspected:  # a stock mitmproxy grants no uploads: its own connection does it at once
            self.connections[self.context.client] = Http2ClientConnection(self.context.fork())

    # What the pace depends on.

    @property
    def is_http2(self) -> bool:
        return self.context.client.alpn == b"h2"

    @property
    def is_tunnel(self) -> bool:
        return self._tunnel is not None

    @property
    def owes_windows(self) -> bool:
        """Whether the client of HTTP/2 sent what it has not been given room for again."""
        client = self.connections.get(self.context.client)
        return isinstance(client, Http2ClientConnection) and client.owes_windows

    @property
    def holds_uploads(self) -> bool:
        """Whether more of a request's body is kept than its machine may ever ask for again."""
        return any(stream.holds_too_much for stream in self.streams.values())  # type: ignore[attr-defined]

    def held_bytes(self, connection: Connection | None) -> int:
        """How much of what came from this machine's connection waits for the client's windows."""
        client = self.connections.get(self.context.client)
        if not isinstance(client, Http2ClientConnection):
            return 0
        machine = self._machine_connection(connection)
        return client.held_bytes(machine.stream_id) if machine and machine.stream_id else 0

    # What streams ask for.

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        kind = InspectedStream if self.inspected else ExchangeStream
        self.streams[stream_id] = kind(self.context.fork(), stream_id, self)
        yield from self.event_to_child(self.streams[stream_id], events.Start())

    def resume_later(self, stream: ExchangeStream) -> None:
        """Let the stream go on once all that came with the present event is through."""
        self._to_resume.append(stream)

    def is_idle(self, connection: Connection) -> bool:
        machine = self._machine_connection(connection)
        return machine is not None and machine.is_idle

    def was_reused(self, connection: Connection) -> bool:
        machine = self._machine_connection(connection)
        return machine is not None and machine.reused

    def _machine_connection(
        self, connection: Connection | None
    ) -> MachineConnection | Http2MachineConnection | None:
        client = self.connections.get(connection) if connection else None
        return client.connection if isinstance(client, MachineClient) else None

    def detach(self, connection: Connection) -> layer.CommandGenerator[None]:
        """No exchange cares for this connection any more: close it and drop whatever still comes."""
        if connection in self.connections:
            self.connections[connection] = DetachedConnection(self.context.fork())
            yield commands.CloseConnection(connection)

    def open_tunnel(self, tunnel: Tunnel) -> None:
        """From now on bytes pass between the two connections of `tunnel` as they come."""
        self._tunnel = tunnel

    # The pool.

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> layer.CommandGenerator[None]:
        assert isinstance(event, GetMachineConnection)
        assert event.machine is not None
        idle = self._find_idle(event.address, h2=event.h2) if reuse and not event.fresh else None
        if idle is not None:
            stream = self.command_sources.pop(event)
            yield from self.event_to_child(stream, GetHttpConnectionCompleted(event, (idle, None)))
            return
        context = self.context.fork()
        context.server = Server(address=event.address)
        client = self.connections[context.server] = MachineClient(
            context, event.machine, event.timeout_seconds, h2=event.h2
        )
        self.waiting_for_establishment[context.server].append(event)
        yield from self.event_to_child(client, events.Start())

    def _find_idle(self, address: tuple[str, int], *, h2: bool) -> Connection | None:
        for connection, client in self.connections.items():
            if (
                isinstance(client, MachineClient)
                and client.h2 is h2
                and client.connection is not None
                and client.connection.is_idle
                and connection.address == address  # type: ignore[attr-defined]
            ):
                client.connection.reused = True
                return connection
        return None

    def register_connection(self, command: RegisterHttpConnection) -> layer.CommandGenerator[None]:
        if command.err:
            self.connections.pop(command.connection, None)
        yield from super().register_connection(command)
