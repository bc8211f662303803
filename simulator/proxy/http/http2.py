"""HTTP/2 connections to clients and machines: limits, upload windows, and workarounds for mitmproxy."""

from __future__ import annotations

import h2.events  # type: ignore[import-untyped] # h2 4.1, which mitmproxy 11 requires, has no types
from h2.connection import ConnectionState as H2State  # type: ignore[import-untyped]
from h2.connection import H2Connection
from h2.errors import ErrorCodes  # type: ignore[import-untyped]
from h2.exceptions import FrameTooLargeError, ProtocolError  # type: ignore[import-untyped]
from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestHeaders,
    ResponseEndOfMessage,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Connection, Http2Server
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from simulator.proxy.http.convert import CLOSED_WITHOUT_RESPONSE, NO_HTTP2, NOT_PROCESSED
from simulator.proxy.http.message_head import MAX_FIELDS, MAX_HEAD_BYTES

_PREFACE_BYTES = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_FRAME_HEAD_BYTES = 9
_FRAME_TYPE_AT = 3
_HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 1, 3, 4, 7, 8, 9
_CONNECTION = bytes(4)
_NO_ERROR = bytes(4)
UPLOAD_WINDOW_BYTES = 1024 * 1024
"""How much an HTTP/2 stream may upload before its machine has read any of it."""
UPLOAD_WINDOW_OF_CONNECTION_BYTES = 16 * UPLOAD_WINDOW_BYTES
"""How much all streams of a client may upload together before their machines have read any of it."""
MAX_STREAMS = 1000
"""How many concurrent HTTP/2 streams one client connection may have."""
MAX_WORK_PER_TURN = 128
"""How much of one connection's input is processed before others get their turn. A small frame counts as 1."""
_WORK_OF_MESSAGE = 16
_FIELD_BYTES_PER_WORK = 8
_STREAMS_PER_WORK = 8
MAX_BACKLOG_PIECES = 128
"""How many pieces of responses wait for a client to open its windows: of its frame size, usually 16 KiB, or smaller."""
MAX_RESETS = 200
"""How many streams a client may reset, beyond those that it lets complete (CVE-2023-44487)."""


def _work(frame: bytes, streams: int) -> int:
    """About how many small frames cost as much time as this one."""
    kind = frame[_FRAME_TYPE_AT]
    if kind in (_HEADERS, _CONTINUATION):  # one byte may stand for a whole field
        return _WORK_OF_MESSAGE + len(frame) // _FIELD_BYTES_PER_WORK
    if kind == _SETTINGS or (kind == _WINDOW_UPDATE and frame[5:9] == _CONNECTION):
        return _WORK_OF_MESSAGE + streams // _STREAMS_PER_WORK  # the windows of all streams change
    return 1


class FrameReader:
    """Input of one HTTP/2 connection, taken in complete frames with a bounded amount of work."""

    def __init__(self, preface_bytes: int = 0) -> None:
        self._data = bytearray()
        self._preface_left = preface_bytes
        self.awaits_settings = True
        """Whether the type of the first frame has not arrived yet."""
        self.has_more = False
        """Whether `take` has left a complete frame."""

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self, streams: int, max_frame_bytes: int) -> list[bytes]:
        """Remove the frames of one turn. `streams`: how many are open. Raises ProtocolError.

        A stream that is reset right after its request is reset in the same turn, so that no machine gets the request.
        """
        self._check_start()
        data, position, work = bytes(self._data), min(self._preface_left, len(self._data)), 0
        self._preface_left -= position
        frames = [data[:position]] if position else []
        self.has_more = False
        while len(data) >= position + _FRAME_HEAD_BYTES:
            size = int.from_bytes(data[position : position + 3], "big")
            if size > max_frame_bytes:
                raise FrameTooLargeError(f"frame of {size} bytes: expected at most {max_frame_bytes}")
            end = position + _FRAME_HEAD_BYTES + size
            if len(data) < end:
                break
            is_reset = data[position + _FRAME_TYPE_AT] == _RST_STREAM
            if work >= MAX_WORK_PER_TURN and not (is_reset and work < 2 * MAX_WORK_PER_TURN):
                self.has_more = True
                break
            frames.append(data[position:end])
            work += _work(frames[-1], streams)
            position = end
        del self._data[:position]
        return frames

    def _check_start(self) -> None:
        """Both sides begin with a SETTINGS frame (RFC 9113, 3.4); h2 does not check it.

        `HTTP/1.1 …` would otherwise be the start of a frame of 4 MB, and be waited for.
        """
        start = self._preface_left + _FRAME_TYPE_AT
        if self.awaits_settings and len(self._data) > start:
            self.awaits_settings = False
            if self._data[start] != _SETTINGS:
                raise ProtocolError(NO_HTTP2)


class _H2Connection(BufferedH2Connection):  # type: ignore[misc]
    """mitmproxy's connection with buffers, which misreads a negative window as room for more (RFC 9113, 6.9.2)."""

    def local_flow_control_window(self, stream_id: int) -> int:
        window: int = super().local_flow_control_window(stream_id)
        return max(window, 0)


class _TurnTaking(Http2Connection):
    """An HTTP/2 connection that processes its input in turns with other connections.

    A GOAWAY without an error is kept from h2, which would end all streams; those in progress are completed
    (RFC 9113, 6.8).
    """

    _next_turn: commands.RequestWakeup | None = None
    _is_going_away = False
    _last_stream = 0
    """The last stream that a side that is going away will process, on this connection."""

    def __init__(self, context: Context, *connection: Connection, preface_bytes: int = 0) -> None:
        super().__init__(context, *connection)
        self.h2_conn = _H2Connection(self.h2_conf)
        self._reader = FrameReader(preface_bytes)

    @property
    def awaits_turn(self) -> bool:
        """Whether more of the input will be processed after other connections have had their turn."""
        return self._next_turn is not None

    def _is_turn(self, event: events.Event) -> bool:
        return isinstance(event, events.Wakeup) and event.command is self._next_turn

    def _read(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Process the frames of one turn: `event` is the next data, or the wake-up for the next turn."""
        if isinstance(event, events.DataReceived):
            self._reader.feed(event.data)
            if self.awaits_turn:
                return
        self._next_turn = None
        try:
            frames = self._reader.take(len(self.streams), self.h2_conn.max_inbound_frame_size)
        except ProtocolError as error:
            yield from self.protocol_error(str(error), error.error_code)
            return
        if frames:
            yield from self._process(frames)
        if self._reader.has_more:
            self._next_turn = commands.RequestWakeup(0)
            yield self._next_turn

    def _process(self, frames: list[bytes]) -> layer.CommandGenerator[None]:
        raise NotImplementedError

    def _without_goaway(self, frames: list[bytes]) -> bytes:
        """The bytes of `frames` without a GOAWAY that reports no error."""
        kept: list[bytes] = []
        for frame in frames:
            if _is_graceful_goaway(frame):
                self._is_going_away = True
                self._last_stream = int.from_bytes(frame[9:13], "big") & 0x7FFFFFFF
            else:
                kept.append(frame)
        return b"".join(kept)

    def close_connection(self, msg: str) -> layer.CommandGenerator[None]:
        self._reader = FrameReader()
        yield from super().close_connection(msg)


def _is_graceful_goaway(frame: bytes) -> bool:
    """Whether this is a valid GOAWAY frame with the code NO_ERROR (RFC 9113, 6.8); h2 reports an invalid one."""
    return (
        len(frame) > 16
        and frame[_FRAME_TYPE_AT] == _GOAWAY
        and frame[5:9] == _CONNECTION
        and frame[13:17] == _NO_ERROR
    )


class SendWindowUpdates(events.Event):
    """The machine has read what an HTTP/2 client sent on this stream: let it send more."""

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


class Http2ClientConnection(_TurnTaking, Http2Server):  # type: ignore[misc]
    """The client's side of HTTP/2. The window of a stream closes if it uploads faster than its machine reads.

    It closes when the client has sent GOAWAY and all its streams have ended.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context, preface_bytes=_PREFACE_BYTES)
        settings = self.h2_conn.local_settings
        settings.initial_window_size = UPLOAD_WINDOW_BYTES
        settings.max_concurrent_streams = MAX_STREAMS
        settings.max_header_list_size = MAX_HEAD_BYTES
        settings.acknowledge()
        self.h2_conn.decoder.max_header_list_size = MAX_HEAD_BYTES
        self._unacknowledged: dict[int, int] = {}
        self._received: dict[int, list[bytes]] = {}
        """Data of this turn by stream: many small frames become one event."""
        self._resets = 0
        """How many streams the client has reset, less those that were completed since."""
        self._reset_at_once: set[int] = set()
        """Streams that began and were reset in the same turn: no machine gets their requests."""
        self._ending: set[int] = set()
        """Streams that end once the client has opened its windows for the rest of a response, or sent its request."""
        self._is_processing = False

    @property
    def received_streams(self) -> tuple[int, ...]:
        """The streams that sent data for which their windows have not been opened again."""
        return tuple(self._unacknowledged)

    def is_backlog_full(self, stream_id: int) -> bool:
        """Whether enough of this response waits for the client's windows. All responses share the limit."""
        backlogs = self.h2_conn.stream_buffers
        backlog = backlogs.get(stream_id)
        return backlog is not None and len(backlog) >= max(1, MAX_BACKLOG_PIECES // len(backlogs))

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived | events.Wakeup):
            yield from self._read(event)
        elif isinstance(event, events.Start):
            H2Connection.initiate_connection(self.h2_conn)  # mitmproxy's own opens a window of 2 GiB
            window = UPLOAD_WINDOW_OF_CONNECTION_BYTES - self.h2_conn.inbound_flow_control_window
            self.h2_conn.increment_flow_control_window(window)
            yield commands.SendData(self.conn, self.h2_conn.data_to_send())
        else:
            yield from super()._handle_event(event)
            if isinstance(event, ResponseEndOfMessage):
                self._resets = max(self._resets - 1, 0)
            if isinstance(event, ResponseEndOfMessage | ResponseProtocolError):
                if self.is_closed(event.stream_id):
                    self.streams.pop(event.stream_id, None)
                else:
                    self._ending.add(event.stream_id)
                yield from self._close_if_gone()

    def _process(self, frames: list[bytes]) -> layer.CommandGenerator[None]:
        try:
            received = self.h2_conn.receive_data(self._without_goaway(frames))
        except ProtocolError as error:  # h2 has prepared a GOAWAY with the error's code
            yield commands.SendData(self.conn, self.h2_conn.data_to_send())
            yield from self.close_connection(f"HTTP/2 protocol error: {error}")
            return
        except (ValueError, IndexError) as error:  # https://github.com/python-hyper/h2/issues/1231
            yield from self.protocol_error(f"HTTP/2 protocol error: {error}")
            return
        self._reset_at_once = {
            event.stream_id for event in received if isinstance(event, h2.events.StreamReset)
        } - self.streams.keys()
        self._is_processing = True
        for event in received:
            if isinstance(event, h2.events.DataReceived):
                self._keep_data(event)
                continue
            yield from self._deliver_data()
            if (yield from self.handle_h2_event(event)):
                return
        yield from self._deliver_data()
        self._is_processing = False
        if output := self.h2_conn.data_to_send():
            yield commands.SendData(self.conn, output)
        for stream_id in [stream_id for stream_id in self._ending if self.is_closed(stream_id)]:
            self._ending.remove(stream_id)
            self.streams.pop(stream_id, None)
        yield from self._close_if_gone()

    def _keep_data(self, event: h2.events.DataReceived) -> None:
        if event.data and event.stream_id in self.streams:
            self._received.setdefault(event.stream_id, []).append(event.data)
        size = self._unacknowledged.get(event.stream_id, 0)
        self._unacknowledged[event.stream_id] = size + event.flow_controlled_length

    def _deliver_data(self) -> layer.CommandGenerator[None]:
        received, self._received = self._received, {}
        for stream_id, pieces in received.items():
            yield ReceiveHttp(RequestData(stream_id, b"".join(pieces)))

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if isinstance(event, h2.events.RequestReceived):
            if len(event.headers) > MAX_FIELDS:
                reason = f"request with {len(event.headers)} header fields: expected at most {MAX_FIELDS}"
                yield from self.protocol_error(reason, ErrorCodes.ENHANCE_YOUR_CALM)
                return True
            if event.stream_id in self._reset_at_once:
                return False
        if isinstance(event, h2.events.StreamReset):
            self._resets += 1
            if self._resets > MAX_RESETS:
                yield from self.protocol_error("too many streams were reset", ErrorCodes.ENHANCE_YOUR_CALM)
                return True
        return (yield from super().handle_h2_event(event))

    def _close_if_gone(self) -> layer.CommandGenerator[None]:
        if self._is_processing or self._reader.has_more:
            return  # more requests of the client are in its input
        if self._is_going_away and all(self.is_closed(stream_id) for stream_id in self.streams):
            yield from self.close_connection("client went away")

    def send_window_updates(self, stream_id: int) -> layer.CommandGenerator[None]:
        """Open the stream's window, and the connection's, by the amount received on the stream since the last call."""
        size = self._unacknowledged.pop(stream_id, 0)
        if self.h2_conn.state_machine.state is H2State.CLOSED:
            return
        self.h2_conn.acknowledge_received_data(size, stream_id)
        if data := self.h2_conn.data_to_send():
            yield commands.SendData(self.conn, data)


class Http2MachineConnection(_TurnTaking, Http2Client):  # type: ignore[misc]
    """One HTTP/2 connection to a machine, by prior knowledge, used by one exchange at a time (F-9.5)."""

    reused = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.h2_conn.local_settings.enable_push = 0
        self.h2_conn.local_settings.acknowledge()
        self.stream_id: int | None = None
        """The stream id of the current exchange on the client's side; None once its response is complete."""
        self.is_detached = False
        """Whether the edge has given up this connection: what still arrives is dropped."""
        self._is_closed = False

    @property
    def is_idle(self) -> bool:
        """Ready for another exchange: none is in progress, and the last request has been sent completely."""
        return (
            self.stream_id is None
            and not self._is_going_away
            and not self._is_closed
            and self.conn.state is ConnectionState.OPEN
            and all(self.is_closed(stream_id) for stream_id in self.streams)
        )

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, RequestHeaders):
            self.stream_id = event.stream_id
            self.streams.clear()
            self.our_stream_id.clear()  # a replay to the same machine has the same id again
            self.their_stream_id.clear()
        yield from super()._handle_event(event)

    def _handle_event2(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Called by mitmproxy's `_handle_event`, which translates the stream ids."""
        if isinstance(event, events.Start):  # without mitmproxy's pings, which nothing ends
            yield from Http2Connection._handle_event(self, event)
        elif isinstance(event, events.DataReceived) or self._is_turn(event):
            yield from self._read(event)
        elif isinstance(event, events.ConnectionClosed):
            reason = NO_HTTP2 if self._reader.awaits_settings else CLOSED_WITHOUT_RESPONSE
            yield from self.close_connection(reason)
        else:
            yield from super()._handle_event2(event)

    def _process(self, frames: list[bytes]) -> layer.CommandGenerator[None]:
        if data := self._without_goaway(frames):
            yield from super()._handle_event2(events.DataReceived(self.conn, data))
        if not self._is_going_away or self.is_detached or self._is_closed:
            return
        if self.stream_id is None or self._last_stream < max(self.streams, default=0):
            yield from self.close_connection(NOT_PROCESSED)  # RFC 9113, 6.8

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if self.is_detached:
            return True
        if isinstance(event, h2.events.StreamReset) and self.stream_id is None:
            self.streams.pop(event.stream_id, None)  # after its response, it wants no more of the body
            return False
        if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            self.stream_id = None
        return (yield from super().handle_h2_event(event))

    def close_connection(self, msg: str) -> layer.CommandGenerator[None]:
        self._is_closed = True
        yield from super().close_connection(msg)
