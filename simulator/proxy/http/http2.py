"""HTTP/2 connections to clients and machines: limits, upload windows, and workarounds for mitmproxy."""

from __future__ import annotations

import h2.events  # type: ignore[import-untyped] # h2 4.1, which mitmproxy 11 requires, has no types
from h2.connection import ConnectionState as H2State  # type: ignore[import-untyped]
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestData
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Server

from simulator.proxy.http.convert import NO_HTTP2
from simulator.proxy.http.message_head import MAX_HEAD_BYTES

_FRAME_TYPE_AT = 3
_SETTINGS = 4
UPLOAD_WINDOW_BYTES = 1024 * 1024
"""How much an HTTP/2 stream may upload before its machine has read any of it."""
MAX_STREAMS = 1000
"""How many concurrent HTTP/2 streams one client connection may have."""


class SendWindowUpdates(events.Event):
    """The machines have read what an HTTP/2 client sent: let it send more."""


class Http2ClientConnection(Http2Server):  # type: ignore[misc]
    """The client's side of HTTP/2. The window of a stream closes if it uploads faster than its machine reads."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = self.h2_conn.local_settings
        settings.initial_window_size = UPLOAD_WINDOW_BYTES
        settings.max_concurrent_streams = MAX_STREAMS
        settings.max_header_list_size = MAX_HEAD_BYTES
        settings.acknowledge()
        self.h2_conn.decoder.max_header_list_size = MAX_HEAD_BYTES
        self._unacknowledged: dict[int, int] = {}

    @property
    def owes_window_updates(self) -> bool:
        return bool(self._unacknowledged)

    def buffered_bytes(self, stream_id: int) -> int:
        """How much of a response waits for the client to open its flow control windows."""
        return sum(len(piece.data) for piece in self.h2_conn.stream_buffers.get(stream_id, ()))

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if not isinstance(event, h2.events.DataReceived):
            return (yield from super().handle_h2_event(event))
        if event.data and event.stream_id in self.streams:
            yield ReceiveHttp(RequestData(event.stream_id, event.data))
        size = self._unacknowledged.get(event.stream_id, 0)
        self._unacknowledged[event.stream_id] = size + event.flow_controlled_length
        return False

    def send_window_updates(self) -> layer.CommandGenerator[None]:
        """Open the client's windows by the amount received since the last call."""
        received, self._unacknowledged = self._unacknowledged, {}
        if self.h2_conn.state_machine.state is H2State.CLOSED:
            return
        for stream_id, size in received.items():
            self.h2_conn.acknowledge_received_data(size, stream_id)
        if data := self.h2_conn.data_to_send():
            yield commands.SendData(self.conn, data)


class Http2MachineConnection(Http2Client):
    """One HTTP/2 connection to a machine, by prior knowledge, used by one exchange at a time (F-9.5)."""

    reused = False
    _preface = b""
    """The first bytes from the machine, up to the frame type that identifies HTTP/2."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Check that the machine begins with a SETTINGS frame (RFC 9113, 3.4); else it is not HTTP/2 (F-6.11).

        mitmproxy would read the start of `HTTP/1.1 …` as the length of a large frame, and wait for all of it.
        """
        if self._awaits_preface and isinstance(event, events.DataReceived):
            self._preface += event.data[: _FRAME_TYPE_AT + 1 - len(self._preface)]
            if not self._awaits_preface and self._preface[_FRAME_TYPE_AT] != _SETTINGS:
                yield from self.protocol_error(NO_HTTP2)
                return
        if self._awaits_preface and isinstance(event, events.ConnectionClosed):
            yield from self.close_connection(NO_HTTP2)
            return
        yield from super()._handle_event(event)

    @property
    def _awaits_preface(self) -> bool:
        return len(self._preface) <= _FRAME_TYPE_AT

    @property
    def stream_id(self) -> int | None:
        """The stream id of the current exchange on the client's side."""
        return next(iter(self.our_stream_id), None) if self.streams else None

    @property
    def is_idle(self) -> bool:
        return not self.streams and self.conn.state is ConnectionState.OPEN
