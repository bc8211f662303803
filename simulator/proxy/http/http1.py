"""HTTP/1.1 connections of an edge, without I/O: to a client, and to a machine.

Bytes go in by `receive`, and HTTP events come out by `Edge.deliver`; `send` takes HTTP events, and bytes come out by
`Edge.write`. All data that arrived at once becomes one data event, however many chunks it had. Memory is bounded: of
a head, a chunk's size line and the trailers by the limits below, of pipelined requests by the edge's flow control.
Trailers end a chunked body; a client gets them if it sent `TE: trailers`. Interim responses (103 Early Hints) are
dropped.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Protocol

from mitmproxy import http
from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)

from simulator.proxy.http import convert
from simulator.proxy.http.message_head import (
    MAX_HEAD_BYTES,
    InvalidMessage,
    accepts_trailers,
    check_framing,
    parse_request,
    parse_response,
    parse_trailers,
    write_fields,
    write_request,
    write_response,
)
from simulator.routing import Fields

MAX_CHUNK_LINE_BYTES = 4096
"""Longest size line of a chunk, with its extensions, which are dropped."""
MAX_TRAILER_BYTES = 16 * 1024
MAX_BACKLOG_BYTES = 64 * 1024
"""How much of a client's further requests is read while the first one is in progress."""
MAX_REQUESTS_PER_TURN = 8
"""How many pipelined requests are started before other connections get their turn."""
MAX_CHUNKS_PER_TURN = 1000
"""How many chunks of a body are read before other connections get their turn."""

_HTTP = b"HTTP/"
_END_OF_HEAD = b"\r\n\r\n"
_leading_empty_lines = re.compile(rb"(?:\r?\n)*").match
_find_bare_line_feed = re.compile(rb"(?<!\r)\n").search
_parse_chunk_line = re.compile(rb"0*([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n").match


class Edge(Protocol):
    """What a connection needs from the HTTP layer that owns it."""

    def write(self, connection: Connection, data: bytes) -> None: ...

    def close(self, connection: Connection) -> None:
        """Close the connection; a client can still send, and read what was written."""

    def deliver(self, event: HttpEvent) -> None:
        """Pass an event on to the stream it belongs to; a request head starts a new stream."""

    def refuse(self, error: InvalidMessage) -> http.Response:
        """Log an invalid request. Returns the response for it."""

    def continue_later(self, connection: ClientConnection | MachineConnection) -> None:
        """Call `connection.process` when other connections have had their turn."""


class _Body:
    """Reader of a message body. `size`: in bytes; None: chunked; -1: until the connection closes."""

    def __init__(self, size: int | None) -> None:
        self._is_chunked = size is None
        self._left = size or 0
        """Bytes left of the body, or of the current chunk; negative: until the connection closes."""
        self._is_chunk_open = False
        self._is_last_chunk = False
        self.is_complete = size == 0
        self.trailers: Fields = ()
        self.has_more = False
        """Whether reading stopped at the limit per turn, not at the end of the buffer."""

    def read(self, buffer: bytearray) -> bytes:
        """Remove the body's bytes from `buffer`, and return them without framing. Raises InvalidMessage."""
        if self._is_chunked:
            return self._read_chunks(buffer)
        if self._left < 0 or len(buffer) <= self._left:
            data = bytes(buffer)
            buffer.clear()
        else:
            data = bytes(memoryview(buffer)[: self._left])
            del buffer[: self._left]
        if self._left >= 0:
            self._left -= len(data)
            self.is_complete = self._left == 0
        return data

    def end(self, *, was_reset: bool) -> None:
        """The connection has closed. Raises InvalidMessage if the body is not complete."""
        if self._is_chunked or self._left >= 0 or was_reset:
            raise InvalidMessage("connection closed in the middle of a body")
        self.is_complete = True

    def _read_chunks(self, buffer: bytearray) -> bytes:
        data = bytes(buffer)
        pieces: list[bytes] = []
        position, end, chunks = 0, len(data), 0
        while position < end and not self._is_last_chunk and chunks < MAX_CHUNKS_PER_TURN:
            if self._left:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
            elif self._is_chunk_open:
                if data.startswith(b"\r\n", position):
                    position += 2
                    self._is_chunk_open = False
                elif data[position:] == b"\r":
                    break
                else:
                    raise InvalidMessage("chunk longer than its size")
            elif line := _parse_chunk_line(data, position, position + MAX_CHUNK_LINE_BYTES):
                position = line.end()
                self._left = int(line[1], 16)
                self._is_chunk_open = True
                self._is_last_chunk = not self._left
                chunks += 1
            elif b"\n" in data[position:] or end - position >= MAX_CHUNK_LINE_BYTES:
                raise InvalidMessage("invalid size line of a chunk")
            else:
                break
        self.has_more = chunks == MAX_CHUNKS_PER_TURN and position < end
        del buffer[:position]
        if self._is_last_chunk:
            self._read_trailers(buffer)
        return b"".join(pieces)

    def _read_trailers(self, buffer: bytearray) -> None:
        if buffer[:2] == b"\r\n":
            del buffer[:2]
            self.is_complete = True
            return
        end = buffer.find(_END_OF_HEAD)
        if end < 0:
            if len(buffer) > MAX_TRAILER_BYTES:
                raise InvalidMessage(f"trailers larger than {MAX_TRAILER_BYTES} bytes")
            if _find_bare_line_feed(buffer):
                raise InvalidMessage("invalid trailers")
            return
        if end > MAX_TRAILER_BYTES:
            raise InvalidMessage(f"trailers larger than {MAX_TRAILER_BYTES} bytes")
        self.trailers = parse_trailers(bytes(buffer[: end + 2]))
        del buffer[: end + 4]
        self.is_complete = True


class _Http1Connection:
    """What both sides have in common: the buffer, and the search for the end of a head."""

    def __init__(self, edge: Edge, connection: Connection) -> None:
        self._edge = edge
        self._connection = connection
        self._buffer = bytearray()
        self._searched = 0
        """How much of the buffer has been searched for the end of a head."""
        self._body = _Body(0)
        self._is_pipe = False
        """Whether bytes pass unchanged, after a 101."""
        self.awaits_turn = False
        """Whether `process` will be called to read more of the buffer."""

    def _continue_later(self) -> None:
        if not self.awaits_turn:
            self.awaits_turn = True
            self._edge.continue_later(self)  # type: ignore[arg-type]

    def _take_head(self) -> bytes | None:
        """Remove a complete head from the buffer; None if it has not arrived yet. Raises InvalidMessage."""
        buffer = self._buffer
        end = buffer.find(_END_OF_HEAD, max(self._searched - 3, 0))
        if end > MAX_HEAD_BYTES or (end < 0 and len(buffer) > MAX_HEAD_BYTES):
            if buffer.find(b"\r\n", 0, MAX_HEAD_BYTES) < 0:  # RFC 9112, 3
                raise InvalidMessage(
                    f"request line larger than {MAX_HEAD_BYTES} bytes", HTTPStatus.REQUEST_URI_TOO_LONG
                )
            raise InvalidMessage(
                f"head larger than {MAX_HEAD_BYTES} bytes", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            )
        if end < 0:
            if _find_bare_line_feed(buffer, max(self._searched - 1, 0)):
                raise InvalidMessage("line that ends with LF: expected CRLF")  # RFC 9112, 2.2
            self._searched = len(buffer)
            return None
        head = bytes(memoryview(buffer)[:end])
        del buffer[: end + 4]
        self._searched = 0
        return head


class ClientConnection(_Http1Connection):
    """The client's side. Pipelined requests wait in the buffer, and are answered one by one."""

    def __init__(self, edge: Edge, connection: Connection) -> None:
        super().__init__(edge, connection)
        self.stream_id = 1
        self._request: http.Request | None = None
        """The request in progress."""
        self._is_chunked = False
        """Whether the response is sent in chunks."""
        self._trailers: Fields = ()
        """Those of the response, which follow its last chunk."""
        self._is_response_complete = False
        self._keeps_alive = True
        self._is_head_sent = False
        self._is_done = False
        self._is_processing = False

    @property
    def has_begun_response(self) -> bool:
        """Whether the client has got a part of the response to the request in progress."""
        return self._is_head_sent

    @property
    def is_backlog_full(self) -> bool:
        """Whether no more should be read before the request in progress is complete."""
        awaits_response = self._request is not None and self._body.is_complete
        return len(self._buffer) > MAX_BACKLOG_BYTES and (awaits_response or self.awaits_turn)

    def receive(self, data: bytes) -> None:
        if self._is_pipe:
            self._edge.deliver(RequestData(self.stream_id, data))
        elif not self._is_done:
            self._buffer += data
            if not self.awaits_turn:
                self.process()

    def receive_eof(self) -> None:
        if self._is_pipe:
            self._edge.deliver(RequestEndOfMessage(self.stream_id))
        elif not self._is_done:
            self._close()
            if self._request is not None:
                self._fail_request("client disconnected")

    def process(self) -> None:
        """Read from the buffer: one or more requests, as far as their responses are complete at once."""
        self._is_processing = True
        self.awaits_turn = False
        started = 0
        try:
            while self._buffer and not self._is_done and not self._is_pipe:
                if self._request is not None and self._body.is_complete:
                    break  # its response is not complete
                if self._request is not None:
                    self._read_body()
                    if not self._body.is_complete:
                        if self._body.has_more:
                            self._continue_later()
                        break
                elif started == MAX_REQUESTS_PER_TURN:
                    self._continue_later()
                    break
                elif not self._read_head():
                    break
                else:
                    started += 1
        except InvalidMessage as error:
            self._refuse(error)
        finally:
            self._is_processing = False

    def _read_head(self) -> bool:
        _drop_empty_lines(self._buffer)
        head = self._take_head()
        if head is None:
            return False
        self._begin(parse_request(head))
        return True

    def _begin(self, request: http.Request) -> None:
        self._request = request
        self._trailers = ()
        self._is_head_sent = self._is_response_complete = False
        self._keeps_alive = _keeps_alive(request)
        self._body = _Body(_declared_size(request, default=0))
        has_body = not self._body.is_complete
        self._edge.deliver(RequestHeaders(self.stream_id, request, not has_body))
        if not has_body:
            self._end_request()

    def _read_body(self) -> None:
        data = self._body.read(self._buffer)
        if data:
            self._edge.deliver(RequestData(self.stream_id, data))
        if self._body.is_complete:
            self._end_request()

    def _end_request(self) -> None:
        if self._body.trailers:
            self._edge.deliver(RequestTrailers(self.stream_id, http.Headers(self._body.trailers)))
        self._edge.deliver(RequestEndOfMessage(self.stream_id))
        self._finish_if_complete()

    def _refuse(self, error: InvalidMessage) -> None:
        """Answer an invalid request, unless its response has begun, and close: what follows cannot be read."""
        self._is_done = True
        if self._request is not None:
            self._fail_request(str(error))
        if not self._is_head_sent:
            self._edge.write(self._connection, write_response(self._edge.refuse(error), b"close"))
        self._close()

    def _fail_request(self, message: str) -> None:
        error = RequestProtocolError(self.stream_id, message, convert.CLIENT_DISCONNECTED)
        self._edge.deliver(error)

    def send(self, event: HttpEvent) -> None:
        if isinstance(event, ResponseData):
            self._edge.write(self._connection, _framed(event.data, is_chunked=self._is_chunked))
        elif isinstance(event, ResponseHeaders):
            self._send_head(event.response)
        elif isinstance(event, ResponseTrailers):
            assert self._request is not None
            if accepts_trailers(self._request):
                self._trailers = event.trailers.fields
        elif isinstance(event, ResponseEndOfMessage):
            self._end_response()
        elif isinstance(event, ResponseProtocolError) and not self._is_done:
            self._close()

    def _send_head(self, response: http.Response) -> None:
        if response.status_code == HTTPStatus.CONTINUE:
            self._edge.write(self._connection, write_response(response))
            return
        assert self._request is not None
        size = _response_size(self._request, response)
        self._is_head_sent = True
        self._is_chunked = size is None
        self._is_pipe = response.status_code == HTTPStatus.SWITCHING_PROTOCOLS
        self._keeps_alive = self._keeps_alive and size != -1
        option = b""
        if not self._is_pipe and self._keeps_alive is (self._request.data.http_version == b"HTTP/1.0"):
            option = b"keep-alive" if self._keeps_alive else b"close"  # the opposite of the version's default
        self._edge.write(self._connection, write_response(response, option))

    def _end_response(self) -> None:
        if self._is_chunked:
            self._edge.write(self._connection, _last_chunk(self._trailers))
        if self._is_pipe:
            early, self._buffer = bytes(self._buffer), bytearray()
            if early:
                self._edge.deliver(RequestData(self.stream_id, early))
            return
        self._is_response_complete = True
        self._finish_if_complete()
        if not self._keeps_alive and not self._is_done:
            # The client may wait for the end of the response before it sends the rest of its request, or leaves.
            self._edge.close(self._connection)

    def _finish_if_complete(self) -> None:
        """Prepare for the next request once both messages are complete."""
        if not (self._is_response_complete and self._body.is_complete) or self._request is None:
            return
        if not self._keeps_alive:
            self._close()
            return
        self._request = None
        self._is_head_sent = False
        self.stream_id += 2
        if self._buffer and not self._is_processing:
            self._continue_later()

    def _close(self) -> None:
        self._is_done = True
        self._buffer.clear()
        self._edge.close(self._connection)


class MachineConnection(_Http1Connection):
    """The machine's side, used by one exchange at a time. `stream_id` is None between two exchanges."""

    reused = False
    """Whether an earlier exchange used this connection."""

    def __init__(self, edge: Edge, connection: Connection) -> None:
        super().__init__(edge, connection)
        self.stream_id: int | None = None
        self._request: http.Request | None = None
        self._response: http.Response | None = None
        self._is_chunked = False
        """Whether the request is sent in chunks."""
        self._trailers: Fields = ()
        """Those of the request, which follow its last chunk."""
        self._is_request_complete = False
        self._is_response_complete = False
        self.is_detached = False
        """Whether the edge has given up this connection: what still arrives is dropped."""

    @property
    def is_idle(self) -> bool:
        """Ready for another exchange: none is in progress and both directions are open."""
        return self.stream_id is None and self._connection.state is ConnectionState.OPEN

    def send(self, event: HttpEvent) -> None:
        if isinstance(event, RequestHeaders):
            self.stream_id, self._request, self._response = event.stream_id, event.request, None
            self._is_request_complete = self._is_response_complete = False
            self._is_chunked = _declared_size(event.request, default=0) is None
            self._edge.write(self._connection, write_request(event.request))
            self._trailers = ()
        elif isinstance(event, RequestTrailers):
            self._trailers = event.trailers.fields
        elif isinstance(event, RequestData):
            is_chunked = self._is_chunked and not self._is_pipe
            self._edge.write(self._connection, _framed(event.data, is_chunked=is_chunked))
        elif isinstance(event, RequestEndOfMessage):
            if self._is_chunked:
                self._edge.write(self._connection, _last_chunk(self._trailers))
            self._is_request_complete = True
        elif isinstance(event, RequestProtocolError):
            self._edge.close(self._connection)

    def receive(self, data: bytes) -> None:
        if self._is_pipe:
            self._deliver_data(data)
            return
        if self.stream_id is None or self._is_response_complete:
            self._edge.close(self._connection)  # nothing was requested
            return
        self._buffer += data
        if not self.awaits_turn:
            self.process()

    def process(self) -> None:
        """Read from the buffer: the response's head, and its body as far as it has arrived."""
        self.awaits_turn = False
        try:
            if self._response is not None or self._read_head():
                self._read_body()
        except InvalidMessage as error:
            self._fail(str(error))

    def _read_head(self) -> bool:
        """Whether the final response has begun; interim ones are dropped."""
        while self._response is None:
            _drop_empty_lines(self._buffer)
            if not _HTTP.startswith(bytes(self._buffer[: len(_HTTP)])):
                raise InvalidMessage("no HTTP response")  # it may never send the empty line that ends a head
            head = self._take_head()
            if head is None:
                return False
            response = parse_response(head)
            if response.status_code >= 200 or response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                self._begin_response(response)
        return True

    def _begin_response(self, response: http.Response) -> None:
        assert self._request is not None
        assert self.stream_id is not None
        check_framing(response.data.headers.fields, allows_transfer_encoding=response.is_http11)
        self._response = response
        self._body = _Body(_response_size(self._request, response))
        self._edge.deliver(ResponseHeaders(self.stream_id, response, self._body.is_complete))

    def _read_body(self) -> None:
        if not self._body.is_complete and self._buffer:
            self._deliver_data(self._body.read(self._buffer))
        if self._body.is_complete:
            self._end_response()
        elif self._body.has_more and not self.is_detached:
            self._continue_later()

    def _deliver_data(self, data: bytes) -> None:
        if data and self.stream_id is not None and not self.is_detached:
            self._edge.deliver(ResponseData(self.stream_id, data))

    def _end_response(self) -> None:
        assert self._response is not None
        if self.stream_id is None or self.is_detached:
            return
        stream_id = self.stream_id
        self._is_response_complete = True
        if self._response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self._is_pipe = True
        elif self._is_request_complete:
            if self._buffer or not _keeps_alive(self._response):
                self._edge.close(self._connection)
            self.stream_id = None
        if self._body.trailers:
            self._edge.deliver(ResponseTrailers(stream_id, http.Headers(self._body.trailers)))
        self._edge.deliver(ResponseEndOfMessage(stream_id))
        if self._is_pipe:  # frames that arrived together with the handshake
            early, self._buffer = bytes(self._buffer), bytearray()
            self._deliver_data(early)

    def receive_eof(self) -> None:
        if not self._is_pipe:
            self._edge.close(self._connection)
        if self.stream_id is None or self.is_detached:
            return
        if self._is_pipe:
            self._edge.deliver(ResponseEndOfMessage(self.stream_id))
        elif self._response is None:
            self._fail(convert.TRUNCATED_HEAD if self._buffer else convert.CLOSED_WITHOUT_RESPONSE)
        elif not self._is_response_complete:
            try:
                self._body.end(was_reset=self._connection.error == convert.RESET)
            except InvalidMessage as error:
                self._fail(str(error))
            else:
                self._end_response()

    def _fail(self, message: str) -> None:
        if self.stream_id is not None and not self.is_detached:
            self._edge.close(self._connection)
            self._edge.deliver(ResponseProtocolError(self.stream_id, message, convert.BROKEN_RESPONSE))


def _drop_empty_lines(buffer: bytearray) -> None:
    """Remove the empty lines before a head (RFC 9112, 2.2)."""
    empty = _leading_empty_lines(buffer)
    if empty is not None and (size := empty.end()):
        del buffer[:size]


def _framed(data: bytes, *, is_chunked: bool) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if is_chunked and data else data


def _last_chunk(trailers: Fields) -> bytes:
    return b"0\r\n%b\r\n" % write_fields(trailers)


def _declared_size(message: http.Request | http.Response, *, default: int) -> int | None:
    """The size of the body in bytes; None: chunked. The framing has been checked."""
    for name, value in message.data.headers.fields:
        size = len(name)
        if size == 14 and name.lower() == b"content-length":
            return int(value)
        if size == 17 and name.lower() == b"transfer-encoding":
            return None
    return default


def _response_size(request: http.Request, response: http.Response) -> int | None:
    """As `_declared_size`; -1: the body ends with the connection (RFC 9112, 6.3)."""
    status = response.status_code
    if status < 200 or status in (204, 304) or request.data.method == b"HEAD":
        return 0
    return _declared_size(response, default=-1)


def _keeps_alive(message: http.Request | http.Response) -> bool:
    """Whether the connection stays open after this message (RFC 9112, 9.3)."""
    stays_open = message.data.http_version == b"HTTP/1.1"
    for name, value in message.data.headers.fields:
        if len(name) == 10 and name.lower() == b"connection":
            options = [option.strip() for option in value.lower().split(b",")]
            if b"close" in options:
                return False
            stays_open = stays_open or b"keep-alive" in options
    return stays_open
