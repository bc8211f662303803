"""HTTP layer of an edge: the exchanges of one client connection and its pool of machine connections.

It replaces mitmproxy's `HttpLayer` and lives as long as one client connection. Differences from `HttpLayer`: a
machine connection is looked up by address, and reused only when idle; one that failed or closed is removed, so that
a keep-alive client reaches a machine that has restarted; what a machine still sends after its replay is dropped.
Connections and streams call each other directly, and all bytes that one event produces for a connection are one write.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy

from mitmproxy import http
from mitmproxy.connection import Connection, Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import DropStream, GetHttpConnectionCompleted, SendHttp
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestData, RequestHeaders
from mitmproxy.proxy.layers.http._http2 import Http2Server

from simulator.proxy.core import ProxyCore
from simulator.proxy.http import convert
from simulator.proxy.http.exchange_stream import ExchangeStream, GetMachineConnection, ResumeExchange
from simulator.proxy.http.http1 import ClientConnection, MachineConnection
from simulator.proxy.http.http2 import Http2ClientConnection, Http2MachineConnection, SendWindowUpdates
from simulator.proxy.http.inspected_stream import InspectedStream
from simulator.proxy.http.message_head import InvalidMessage, write_response
from simulator.proxy.http.websocket_tunnel import GoAway, Tunnel
from simulator.routing import Machine

_GOAWAY = b"\0\0\x08\x07\0\0\0\0\0" + b"\x7f\xff\xff\xff" + b"\0\0\0\x02"
"""A GOAWAY frame for all streams, with INTERNAL_ERROR (RFC 9113, 6.8)."""
ABANDONED = "abandoned"
"""The error of a connection whose unsent data nobody needs: it is closed without waiting for the machine to read."""
LINGER_SECONDS = 30.0
"""How long the other side may still send and read after the edge has closed its connection, in real time."""
MAX_IDLE_CONNECTIONS = 16
"""How many idle connections to machines one client connection keeps."""

MachineSide = MachineConnection | Http2MachineConnection
Side = ClientConnection | Http2Server | MachineSide


class OpenMachineConnection(commands.OpenConnection):
    """Open a connection to a machine within `timeout_seconds`."""

    def __init__(self, connection: Server, machine: Machine, timeout_seconds: float) -> None:
        super().__init__(connection)
        self.machine = machine
        self.timeout_seconds = timeout_seconds


class EdgeLayer(layer.Layer):
    """All exchanges of one client connection."""

    def __init__(self, context: Context, core: ProxyCore, *, inspected: bool = False) -> None:
        super().__init__(context)
        self.core = core
        self.inspected = inspected
        """Whether mitmproxy's hooks announce every flow, for addons other than ours."""
        self.streams: dict[int, ExchangeStream] = {}
        self.connections: dict[Connection, Side] = {}
        self._waiting: dict[
            commands.Command, layer.Layer | ClientConnection | MachineConnection | Tunnel | Connection
        ] = {}
        """Who gets the event that completes a command."""
        self._opening: dict[commands.Command, tuple[ExchangeStream, GetMachineConnection]] = {}
        self._tunnel: Tunnel | None = None
        self._has_crashed = False
        self._streams_to_resume: list[ExchangeStream] = []
        self._commands: list[commands.Command] = []
        self._writes: dict[Connection, list[bytes]] = {}

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Process the event completely, then execute the resulting commands. The layer itself never waits."""
        if self._has_crashed:
            return
        try:
            self._dispatch(event)
            while self._streams_to_resume:
                self._run(self._streams_to_resume.pop(0), ResumeExchange())
        except Exception as bug:
            self._crash(bug)
        for connection in tuple(self._writes):
            self._flush(connection)
        executed, self._commands = self._commands, []
        yield from executed

    _handle_event = handle_event

    def _crash(self, bug: Exception) -> None:
        """A bug in flysim: its exchanges end with an error, and nothing else is sent on this connection."""
        self._has_crashed = True
        error, client = self.core.report_bug(bug), self.context.client
        streams = tuple(self.streams.values())
        self.streams.clear()
        side = self.connections.get(client)
        has_begun = isinstance(side, ClientConnection) and side.has_begun_response
        for stream in streams:
            has_begun |= stream.abort(error)
        if self.is_http2:
            self.write(client, _GOAWAY)
        elif self._tunnel is None and not has_begun:
            request_id = streams[0].request_id if streams else ""
            self.write(client, write_response(convert.bug_response(self.core, client, request_id), b"close"))
        self.close(client)

    def _dispatch(self, event: events.Event) -> None:
        if isinstance(event, events.ConnectionEvent):
            self._handle_connection_event(event)
        elif isinstance(event, events.OpenConnectionCompleted):
            self._connection_opened(event)
        elif isinstance(event, events.CommandCompleted):
            waiting = self._waiting.pop(event.command)
            if isinstance(waiting, ClientConnection | MachineConnection):
                waiting.process()
            elif isinstance(waiting, Tunnel):
                self._execute(waiting.wake_up(event.command), waiting)
            elif isinstance(waiting, Connection):
                self._commands.append(commands.CloseConnection(waiting))
            else:
                self._run(waiting, event)
        elif isinstance(event, events.Start):
            self._add_client()
        else:
            self._handle_request_from_outside(event)

    def _handle_request_from_outside(self, event: events.Event) -> None:
        client = self.connections.get(self.context.client)
        if isinstance(event, GoAway) and self._tunnel is not None:
            self._execute(self._tunnel.go_away(), self._tunnel)
        elif isinstance(event, SendWindowUpdates) and isinstance(client, Http2ClientConnection):
            self._execute(client.send_window_updates(event.stream_id))
        elif isinstance(event, events.MessageInjected):  # by the inspector of mitmweb
            for stream in tuple(self.streams.values()):
                if isinstance(stream, InspectedStream) and stream.flow is event.flow:
                    self._run(stream, event)

    def _handle_connection_event(self, event: events.ConnectionEvent) -> None:
        connection = event.connection
        if self._tunnel is not None and self._tunnel.owns(connection):
            self._execute(self._tunnel.pass_on(event), self._tunnel)
        elif (side := self.connections.get(connection)) is None:
            pass  # detached: its machine replays and closes late, or sends more than its response
        elif isinstance(side, layer.Layer):
            self._run(side, event)
        elif isinstance(event, events.DataReceived):
            side.receive(event.data)
        elif isinstance(event, events.ConnectionClosed):
            side.receive_eof()
        if isinstance(event, events.ConnectionClosed) and connection is not self.context.client:
            self.connections.pop(connection, None)

    def _add_client(self) -> None:
        client = self.context.client
        if not self.is_http2:
            self.connections[client] = ClientConnection(self, client)
            return
        # Stock mitmproxy sends no SendWindowUpdates, so there its own connection is kept, which updates at once.
        side = (Http2Server if self.inspected else Http2ClientConnection)(self.context.fork())
        self.connections[client] = side
        self._run(side, events.Start())

    # Commands of streams, tunnels and HTTP/2 connections.

    def _run(self, child: layer.Layer, event: events.Event) -> None:
        try:
            self._execute(child.handle_event(event), child)
        except Exception as bug:
            if not self.is_http2 or not isinstance(child, ExchangeStream):
                raise  # it ends the connection, which has no other exchange
            self._execute(child.crash(bug), child)

    def _execute(self, issued: Iterable[commands.Command], child: layer.Layer | Tunnel | None = None) -> None:
        for command in issued:
            if isinstance(command, SendHttp):
                self._send(command.connection, command.event)
            elif isinstance(command, ReceiveHttp):
                self.deliver(command.event)
            elif isinstance(command, GetMachineConnection):
                assert isinstance(child, ExchangeStream)
                self._get_connection(child, command)
            elif isinstance(command, DropStream):
                self.streams.pop(command.stream_id, None)
            elif isinstance(command, commands.SendData):
                self.write(command.connection, command.data)
            elif isinstance(command, commands.CloseConnection):
                self.close(command.connection)
            else:
                if command.blocking or isinstance(command, commands.RequestWakeup):
                    assert child is not None
                    self._waiting[command] = child
                self._commands.append(command)

    def _send(self, connection: Connection, event: HttpEvent) -> None:
        side = self.connections.get(connection)
        if isinstance(side, layer.Layer):
            self._run(side, event)
        elif side is not None:
            side.send(event)

    # Used by connections.

    def deliver(self, event: HttpEvent) -> None:
        if isinstance(event, RequestHeaders):
            stream_class = InspectedStream if self.inspected else ExchangeStream
            context = copy(self.context)  # `fork` would also create a connection that no stream uses
            context.layers = [*context.layers]
            self.streams[event.stream_id] = stream_class(context, event.stream_id, self)
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            if isinstance(event, RequestData):
                stream.received_bytes += len(event.data)
            self._run(stream, event)

    def write(self, connection: Connection, data: bytes) -> None:
        self._writes.setdefault(connection, []).append(data)

    def close(self, connection: Connection) -> None:
        """Close a connection: that of the client only in its direction, so that it can read what was written.

        A socket that is closed with unread input sends RST, and the client loses what it has not read (RFC 9112, 9.6;
        RFC 6455, 7.1.1). What the client still sends is dropped, until it closes or LINGER_SECONDS have passed.
        """
        self._flush(connection)
        if connection is not self.context.client or self._has_crashed:
            self._commands.append(commands.CloseConnection(connection))
            return
        self._commands.append(commands.CloseTcpConnection(connection, half_close=True))
        timeout = commands.RequestWakeup(LINGER_SECONDS)
        self._waiting[timeout] = connection
        self._commands.append(timeout)

    def _flush(self, connection: Connection) -> None:
        if pieces := self._writes.pop(connection, None):
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._commands.append(commands.SendData(connection, data))

    def refuse(self, error: InvalidMessage) -> http.Response:
        return convert.refusal_response(self.core, self.context.client, error)

    def continue_later(self, connection: ClientConnection | MachineConnection) -> None:
        wakeup = commands.RequestWakeup(0)
        self._waiting[wakeup] = connection
        self._commands.append(wakeup)

    # Used by flow control.

    @property
    def is_http2(self) -> bool:
        return self.context.client.alpn == b"h2"

    @property
    def is_tunnel(self) -> bool:
        return self._tunnel is not None

    @property
    def received_streams(self) -> tuple[int, ...]:
        """The streams of an HTTP/2 client that sent data for which their windows have not been opened again."""
        client = self.connections.get(self.context.client)
        return client.received_streams if isinstance(client, Http2ClientConnection) else ()

    def is_upload_buffer_full(self, stream_id: int) -> bool:
        """Whether more of this request's body waits for a machine than can ever be resent."""
        stream = self.streams.get(stream_id)
        return stream is not None and stream.is_upload_buffer_full

    def machine_of(self, stream_id: int) -> Connection | None:
        """The connection to the machine that gets this request, if there is one yet."""
        stream = self.streams.get(stream_id)
        return stream.context.server if stream is not None else None

    @property
    def is_client_ahead(self) -> bool:
        """Whether an HTTP/1.1 client should send no more: its body waits for a machine, or further requests wait."""
        client = self.connections.get(self.context.client)
        if isinstance(client, ClientConnection) and client.is_backlog_full:
            return True
        return any(stream.is_upload_buffer_full for stream in self.streams.values())

    def awaits_turn(self, connection: Connection | None) -> bool:
        """Whether more of what this connection sent is to be processed after other connections have had their turn."""
        if connection is not None and self._tunnel is not None and self._tunnel.owns(connection):
            return self._tunnel.awaits_turn(connection)
        side = self.connections.get(connection) if connection else None
        return isinstance(side, ClientConnection | Http2ClientConnection | MachineSide) and side.awaits_turn

    def is_backlog_full(self, connection: Connection | None) -> bool:
        """Whether enough of what this machine sent waits for the client to open its flow control windows."""
        client = self.connections.get(self.context.client)
        machine = self.connections.get(connection) if connection else None
        return (
            isinstance(client, Http2ClientConnection)
            and isinstance(machine, MachineSide)
            and machine.stream_id is not None
            and client.is_backlog_full(machine.stream_id)
        )

    # Used by streams.

    def resume_later(self, stream: ExchangeStream) -> None:
        """Send `stream` a ResumeExchange once the current event has been processed."""
        self._streams_to_resume.append(stream)

    def is_idle(self, connection: Connection) -> bool:
        side = self.connections.get(connection)
        return isinstance(side, MachineSide) and side.is_idle

    def was_reused(self, connection: Connection) -> bool:
        side = self.connections.get(connection)
        return isinstance(side, MachineSide) and side.reused

    def detach(self, connection: Connection) -> None:
        """Close a machine connection that is no longer used by any exchange, and drop what still arrives on it."""
        side = self.connections.pop(connection, None)
        if side is not None:
            if isinstance(side, MachineSide):
                side.is_detached = True
            connection.error = ABANDONED
            self.close(connection)

    def open_tunnel(self, tunnel: Tunnel) -> None:
        """From now on, `tunnel` handles all data of its two connections."""
        self._tunnel = tunnel

    def pass_on(self, tunnel: Tunnel, connection: Connection, data: bytes) -> None:
        """Pass on data that arrived in one packet with the end of the handshake."""
        self._execute(tunnel.pass_on(events.DataReceived(connection, data)), tunnel)

    # The pool of machine connections.

    def _get_connection(self, stream: ExchangeStream, request: GetMachineConnection) -> None:
        assert request.machine is not None
        idle = None if request.fresh else self._find_idle(request.address, h2=request.h2)
        if idle is not None:
            self._run(stream, GetHttpConnectionCompleted(request, (idle, None)))
            return
        command = OpenMachineConnection(
            Server(address=request.address), request.machine, request.timeout_seconds
        )
        command.blocking = self  # type: ignore[assignment] # else mitmproxy's layers above would wait
        self._opening[command] = (stream, request)
        self._commands.append(command)

    def _find_idle(self, address: tuple[str, int], *, h2: bool) -> Connection | None:
        side_class = Http2MachineConnection if h2 else MachineConnection
        unused: list[Connection] = []
        for connection, side in self.connections.items():
            if isinstance(side, MachineSide) and side.stream_id is None:
                is_match = isinstance(side, side_class) and connection.address == address  # type: ignore[attr-defined]
                if is_match and side.is_idle:
                    side.reused = True
                    return connection
                unused.append(connection)
        for connection in unused[: max(0, len(unused) - MAX_IDLE_CONNECTIONS + 1)]:
            self.detach(connection)
        return None

    def _connection_opened(self, event: events.OpenConnectionCompleted) -> None:
        stream, request = self._opening.pop(event.command)
        connection = event.command.connection
        assert isinstance(connection, Server)
        if not event.reply:
            if request.h2:
                context = self.context.fork()
                context.server = connection
                side = self.connections[connection] = Http2MachineConnection(context)
                self._run(side, events.Start())
            else:
                self.connections[connection] = MachineConnection(self, connection)
        result = (None, event.reply) if event.reply else (connection, None)
        self._run(stream, GetHttpConnectionCompleted(request, result))
