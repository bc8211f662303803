"""HTTP layer of an edge: the exchanges of one client connection and its pool of machine connections.

It replaces mitmproxy's `HttpLayer` and lives as long as one client connection. Differences from `HttpLayer`: a
machine connection is looked up by address, and reused only when idle; one that failed or closed is removed, so that
a keep-alive client reaches a machine that has restarted; what a machine still sends after its replay is dropped.
"""

from __future__ import annotations

from mitmproxy.connection import Connection, Server
from mitmproxy.net.http import http1
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
from simulator.proxy.http import convert
from simulator.proxy.http.connections import (
    ClientConnection,
    DetachedConnection,
    Http2ClientConnection,
    Http2MachineConnection,
    MachineConnection,
    SendWindowUpdates,
)
from simulator.proxy.http.exchange_stream import ExchangeStream, GetMachineConnection, ResumeExchange
from simulator.proxy.http.inspected_stream import InspectedStream
from simulator.proxy.http.websocket_tunnel import GoAway, Tunnel
from simulator.routing import Machine

_GOAWAY = b"\0\0\x08\x07\0\0\0\0\0" + b"\x7f\xff\xff\xff" + b"\0\0\0\x02"
"""A GOAWAY frame for all streams, with INTERNAL_ERROR (RFC 9113, 6.8)."""


class OpenMachineConnection(commands.OpenConnection):
    """Open a connection to a machine within `timeout_seconds`."""

    def __init__(self, connection: Server, machine: Machine, timeout_seconds: float) -> None:
        super().__init__(connection)
        self.machine = machine
        self.timeout_seconds = timeout_seconds


class MachineClient(HttpClient):
    """Opens a connection to a machine, then speaks HTTP/1.1 or, if the service asks for it, HTTP/2 (F-9.5)."""

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
        """Whether mitmproxy's hooks announce every flow, for addons other than ours."""
        self._tunnel: Tunnel | None = None
        self._has_crashed = False
        self._streams_to_resume: list[ExchangeStream] = []

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Merge everything that one event sends to the client, such as a head and its body, into one write."""
        if self._has_crashed:
            return
        client, pending = self.context.client, b""
        try:
            for command in self._dispatch(event):
                if isinstance(command, commands.ConnectionCommand) and command.connection is client:
                    if isinstance(command, commands.SendData):
                        pending += command.data
                        continue
                    if pending:
                        yield commands.SendData(client, pending)
                        pending = b""
                yield command
        except Exception as bug:
            pending += self._crash(bug)
        if pending:
            yield commands.SendData(client, pending)
        if self._has_crashed:
            yield commands.CloseConnection(client)

    def _crash(self, bug: Exception) -> bytes:
        """A bug in flysim that is not in a single exchange: returns the last bytes that the client gets."""
        self._has_crashed = True
        error = self.core.report_bug(bug)
        # abort() must be called for every stream.
        has_responses = [stream.abort(error) for stream in self.streams.values()]  # type: ignore[attr-defined]
        if self._tunnel is not None or any(has_responses):
            return b""
        if self.is_http2:
            return _GOAWAY
        edge = convert.edge_of(self.context.client)
        response = convert.bug_response(self.core.new_request_id(edge, self.core.clock.now()), "1.1")
        data: bytes = http1.assemble_response(response)
        return data

    def _dispatch(self, event: events.Event) -> layer.CommandGenerator[None]:
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
        elif isinstance(event, SendWindowUpdates):
            yield from self.connections[self.context.client].send_window_updates()  # type: ignore[attr-defined]
        else:
            if isinstance(event, events.Start):
                self._add_client_connection()
            yield from super()._handle_event(event)
        while self._streams_to_resume:
            yield from self.event_to_child(self._streams_to_resume.pop(0), ResumeExchange())

    def _add_client_connection(self) -> None:
        if not self.is_http2:
            self.connections[self.context.client] = ClientConnection(self.context.fork())
        elif not self.inspected:
            # Stock mitmproxy sends no SendWindowUpdates, so there its own connection is kept, which updates at once.
            self.connections[self.context.client] = Http2ClientConnection(self.context.fork())

    # Used by flow control.

    @property
    def is_http2(self) -> bool:
        return self.context.client.alpn == b"h2"

    @property
    def is_tunnel(self) -> bool:
        return self._tunnel is not None

    @property
    def owes_window_updates(self) -> bool:
        """Whether an HTTP/2 client sent data for which its windows have not been opened again."""
        client = self.connections.get(self.context.client)
        return isinstance(client, Http2ClientConnection) and client.owes_window_updates

    @property
    def is_upload_buffer_full(self) -> bool:
        """Whether more of a request's body waits for a machine than can ever be resent."""
        return any(stream.is_upload_buffer_full for stream in self.streams.values())  # type: ignore[attr-defined]

    def buffered_bytes(self, connection: Connection | None) -> int:
        """How many bytes from this machine's connection wait for the client's flow control windows."""
        client = self.connections.get(self.context.client)
        if not isinstance(client, Http2ClientConnection):
            return 0
        machine = self._machine_connection(connection)
        return client.buffered_bytes(machine.stream_id) if machine and machine.stream_id else 0

    # Used by streams.

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        stream_class = InspectedStream if self.inspected else ExchangeStream
        self.streams[stream_id] = stream_class(self.context.fork(), stream_id, self)
        yield from self.event_to_child(self.streams[stream_id], events.Start())

    def resume_later(self, stream: ExchangeStream) -> None:
        """Send `stream` a ResumeExchange once the current event has been processed."""
        self._streams_to_resume.append(stream)

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
        """Close a machine connection that is no longer used by any exchange, and drop what still arrives on it."""
        if connection in self.connections:
            self.connections[connection] = DetachedConnection(self.context.fork())
            yield commands.CloseConnection(connection)

    def open_tunnel(self, tunnel: Tunnel) -> None:
        """From now on, `tunnel` handles all data of its two connections."""
        self._tunnel = tunnel

    # The pool of machine connections.

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
