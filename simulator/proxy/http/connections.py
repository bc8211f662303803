"""HTTP/1 and HTTP/2 connections to clients and machines: limits, upload windows, and workarounds for mitmproxy.

mitmproxy fails on trailers and mistakes an interim response (103 Early Hints) for the final one. Both are dropped
here. The `stream_id` of mitmproxy's `Http1Client` is None between two exchanges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h2.events  # type: ignore[import-untyped] # h2 4.1, which mitmproxy 11 requires, has no types
import h11
from h2.connection import ConnectionState as H2State  # type: ignore[import-untyped]
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestData, ResponseProtocolError
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Server
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Server

from simulator.proxy.http.convert import BROKEN_RESPONSE, NO_HTTP2

_HTTP = b"HTTP/"
_FRAME_TYPE_AT = 3
_SETTINGS = 4
MAX_HEAD_BYTES = 256 * 1024
"""A message head larger than this ends the connection; Fly does not document its limit (F-10.12)."""

UPLOAD_WINDOW_BYTES = 1024 * 1024
"""How much an HTTP/2 stream may upload before its machine has read any of it."""
MAX_STREAMS = 1000
"""How many concurrent HTTP/2 streams one client connection may have."""

_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


def _is_too_large(buffer: ReceiveBuffer) -> bool:
    """Whether `buffer` begins with a message head above the limit, complete or not."""
    if len(buffer) <= MAX_HEAD_BYTES:
        return False
    head = bytes(buffer)[:MAX_HEAD_BYTES]
    return b"\n\r\n" not in head and b"\n\n" not in head


class _TrailerDroppingReader:
    """Wraps a body reader of h11 and drops trailers."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def __call__(self, buffer: Any) -> Any:
        return self._without_trailers(self._reader(buffer))

    def read_eof(self) -> Any:
        return self._without_trailers(self._reader.read_eof())

    @staticmethod
    def _without_trailers(event: Any) -> Any:
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) and event.headers else event


class _WithoutTrailers:
    """Mixin for mitmproxy's HTTP/1 connections: drops the trailers of every body."""

    _reader: _TrailerDroppingReader

    @property
    def body_reader(self) -> _TrailerDroppingReader:
        return self._reader

    @body_reader.setter
    def body_reader(self, reader: Any) -> None:
        self._reader = _TrailerDroppingReader(reader)


class ClientConnection(_WithoutTrailers, Http1Server):  # type: ignore[misc]
    """The client's side of HTTP/1."""

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        while bytes(self.buf).startswith(b"\r\n"):  # RFC 9112, 2.2: ignore empty lines before a request
            self.buf.maybe_extract_at_most(2)
        if _is_too_large(self.buf):
            self.state = self.done
            yield commands.SendData(self.conn, _HEAD_TOO_LARGE)
            yield commands.CloseConnection(self.conn)
            return
        yield from super().read_headers(event)


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


class MachineConnection(_WithoutTrailers, Http1Client):  # type: ignore[misc]
    """One HTTP/1.1 connection to a machine, used by one exchange at a time."""

    reused = False
    """Whether an earlier exchange used this connection."""

    @property
    def is_idle(self) -> bool:
        """Ready for another exchange: none is in progress and both directions are open."""
        return self.stream_id is None and self.conn.state is ConnectionState.OPEN

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        if self.request is not None and isinstance(event, events.DataReceived):
            self._drop_interim_responses()
            if not self._may_be_http() or _is_too_large(self.buf):
                yield from self._fail()
                return
        yield from super().read_headers(event)

    def _may_be_http(self) -> bool:
        """False if the machine speaks another protocol; it may never send the empty line that mitmproxy waits for."""
        start = bytes(self.buf).lstrip(b"\r\n")[: len(_HTTP)]
        return _HTTP.startswith(start)

    def _fail(self) -> layer.CommandGenerator[None]:
        assert self.stream_id is not None
        yield commands.CloseConnection(self.conn)
        yield ReceiveHttp(ResponseProtocolError(self.stream_id, "no HTTP response head", BROKEN_RESPONSE))

    def _drop_interim_responses(self) -> None:
        for size in self._interim_sizes(bytes(self.buf)):
            self.buf.maybe_extract_at_most(size)

    @staticmethod
    def _interim_sizes(data: bytes) -> Iterator[int]:
        start = 0
        while data[start : start + 6] == b"HTTP/1" and data[start + 8 : start + 10] == b" 1":
            if data[start + 9 : start + 12] == b"101":
                return
            end = data.find(b"\r\n\r\n", start)
            if end < 0:
                return
            yield end + 4 - start
            start = end + 4


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


class DetachedConnection(layer.Layer):
    """Replaces a machine connection that is no longer used by any exchange, and drops all its events.

    Without it, a machine that replays and closes late would end the client's new WebSocket.
    """

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from ()
