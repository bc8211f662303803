"""HTTP/2 connections to clients and machines: limits, upload windows, and workarounds for mitmproxy."""

from __future__ import annotations

import h2.events  # type: ignore[import-untyped] # h2 4.1, which mitmproxy 11 requires, has no types
from h2.connection import ConnectionState as H2State  # type: ignore[import-untyped]
from h2.errors import ErrorCodes  # type: ignore[import-untyped]
from h2.exceptions import ProtocolError  # type: ignore[import-untyped]
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestData, ResponseEndOfMessage, ResponseProtocolError
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Server

from simulator.proxy.http.convert import NO_HTTP2
from simulator.proxy.http.message_head import MAX_HEAD_BYTES

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD_BYTES = 9
_FRAME_TYPE_AT = 3
_SETTINGS = 4
_GOAWAY = 7
_NO_ERROR = bytes(4)
_STREAM_0 = bytes(4)
UPLOAD_WINDOW_BYTES = 1024 * 1024
"""How much an HTTP/2 stream may upload before its machine has read any of it."""
MAX_STREAMS = 1000
"""How many concurrent HTTP/2 streams one client connection may have."""
MAX_FRAMES_PER_TURN = 64
"""How many frames of one client are processed before other connections get their turn."""
MAX_RESETS = 200
"""How many streams a client may reset, beyond those that it lets complete (CVE-2023-44487)."""


class SendWindowUpdates(events.Event):
    """The machines have read what an HTTP/2 client sent: let it send more."""


class Http2ClientConnection(Http2Server):  # type: ignore[misc]
    """The client's side of HTTP/2. The window of a stream closes if it uploads faster than its machine reads.

    Frames are processed in bounded numbers. A GOAWAY without an error is kept from h2, which would end all streams;
    those in progress are completed (RFC 9113, 6.8).
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = self.h2_conn.local_settings
        settings.initial_window_size = UPLOAD_WINDOW_BYTES
        settings.max_concurrent_streams = MAX_STREAMS
        settings.max_header_list_size = MAX_HEAD_BYTES
        settings.acknowledge()
        self.h2_conn.decoder.max_header_list_size = MAX_HEAD_BYTES
        self._unacknowledged: dict[int, int] = {}
        self._input = bytearray()
        self._preface_left = len(_PREFACE)
        self._awaits_settings = True
        self._resets = 0
        """How many streams the client has reset, less those that were completed since."""
        self._reset_at_once: set[int] = set()
        """Streams that began and were reset in the same piece of data: no machine gets their requests."""
        self._is_going_away = False
        self.awaits_turn = False
        """Whether more of the input will be processed after other connections have had their turn."""

    @property
    def owes_window_updates(self) -> bool:
        return bool(self._unacknowledged)

    def buffered_bytes(self, stream_id: int) -> int:
        """How much of a response waits for the client to open its flow control windows."""
        return sum(len(piece.data) for piece in self.h2_conn.stream_buffers.get(stream_id, ()))

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            self._input += event.data
            if not self.awaits_turn:
                yield from self._read_frames()
        elif isinstance(event, events.Wakeup):
            yield from self._read_frames()
        else:
            yield from super()._handle_event(event)
            if isinstance(event, ResponseEndOfMessage):
                self._resets = max(self._resets - 1, 0)
            if isinstance(event, ResponseEndOfMessage | ResponseProtocolError):
                if self.is_closed(event.stream_id):
                    self.streams.pop(event.stream_id, None)
                yield from self._close_if_gone()

    def _read_frames(self) -> layer.CommandGenerator[None]:
        self.awaits_turn = False
        first_type = self._input[self._preface_left + _FRAME_TYPE_AT :][:1]
        if self._awaits_settings and first_type:
            self._awaits_settings = False
            if first_type[0] != _SETTINGS:  # RFC 9113, 3.4; h2 does not check it
                yield from self.protocol_error("no SETTINGS frame after the preface")
                return
        data = self._take_frames()
        if len(self._input) >= _FRAME_HEAD_BYTES:
            size = int.from_bytes(self._input[:3], "big")
            if size > self.h2_conn.max_inbound_frame_size:
                yield from self.protocol_error("frame too large", ErrorCodes.FRAME_SIZE_ERROR)
                return
            self.awaits_turn = len(self._input) >= _FRAME_HEAD_BYTES + size
        if data:
            yield from self._process(data)
        if self.awaits_turn:
            yield commands.RequestWakeup(0)

    def _take_frames(self) -> bytes:
        """Remove complete frames from the input, up to the limit per turn."""
        data, position = bytes(self._input), min(self._preface_left, len(self._input))
        self._preface_left -= position
        pieces, start = [], 0
        for _ in range(MAX_FRAMES_PER_TURN):
            end = position + _FRAME_HEAD_BYTES + int.from_bytes(data[position : position + 3], "big")
            if self._preface_left or len(data) < position + _FRAME_HEAD_BYTES or len(data) < end:
                break
            if data[position + _FRAME_TYPE_AT] == _GOAWAY and _ends_without_error(data[position:end]):
                self._is_going_away = True
                pieces.append(data[start:position])
                start = end
            position = end
        pieces.append(data[start:position])
        del self._input[:position]
        return b"".join(pieces)

    def _process(self, data: bytes) -> layer.CommandGenerator[None]:
        try:
            received = self.h2_conn.receive_data(data)
        except ProtocolError as error:  # h2 has prepared a GOAWAY with the error's code
            self.awaits_turn = False
            yield commands.SendData(self.conn, self.h2_conn.data_to_send())
            yield from self.close_connection(f"HTTP/2 protocol error: {error}")
            return
        except (ValueError, IndexError) as error:  # https://github.com/python-hyper/h2/issues/1231
            self.awaits_turn = False
            yield from self.protocol_error(f"HTTP/2 protocol error: {error}")
            return
        self._reset_at_once = {
            event.stream_id for event in received if isinstance(event, h2.events.StreamReset)
        } - self.streams.keys()
        for event in received:
            if (yield from self.handle_h2_event(event)):
                self.awaits_turn = False
                return
        if output := self.h2_conn.data_to_send():
            yield commands.SendData(self.conn, output)
        yield from self._close_if_gone()

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if isinstance(event, h2.events.DataReceived):
            if event.data and event.stream_id in self.streams:
                yield ReceiveHttp(RequestData(event.stream_id, event.data))
            size = self._unacknowledged.get(event.stream_id, 0)
            self._unacknowledged[event.stream_id] = size + event.flow_controlled_length
            return False
        if isinstance(event, h2.events.RequestReceived) and event.stream_id in self._reset_at_once:
            return False
        if isinstance(event, h2.events.StreamReset):
            self._resets += 1
            if self._resets > MAX_RESETS:
                yield from self.protocol_error("too many streams were reset", ErrorCodes.ENHANCE_YOUR_CALM)
                return True
        return (yield from super().handle_h2_event(event))

    def _close_if_gone(self) -> layer.CommandGenerator[None]:
        if self._is_going_away and all(self.is_closed(stream_id) for stream_id in self.streams):
            yield from self.close_connection("client went away")

    def send_window_updates(self) -> layer.CommandGenerator[None]:
        """Open the client's windows by the amount received since the last call."""
        received, self._unacknowledged = self._unacknowledged, {}
        if self.h2_conn.state_machine.state is H2State.CLOSED:
            return
        for stream_id, size in received.items():
            self.h2_conn.acknowledge_received_data(size, stream_id)
        if data := self.h2_conn.data_to_send():
            yield commands.SendData(self.conn, data)


def _ends_without_error(goaway: bytes) -> bool:
    """Whether this GOAWAY frame is valid and has the code NO_ERROR (RFC 9113, 6.8); h2 reports an invalid one."""
    return len(goaway) >= 17 and goaway[5:9] == _STREAM_0 and goaway[13:17] == _NO_ERROR


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
