"""HTTP/1.1 connections without I/O: how much work and memory one client's bytes can cause."""

from __future__ import annotations

from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseEndOfMessage,
    ResponseHeaders,
)

from simulator.proxy.http.http1 import (
    MAX_BACKLOG_BYTES,
    MAX_CHUNK_LINE_BYTES,
    MAX_CHUNKS_PER_TURN,
    MAX_REQUESTS_PER_TURN,
    MAX_TRAILER_BYTES,
    ClientConnection,
)
from simulator.proxy.http.message_head import MAX_HEAD_BYTES, InvalidMessage, new_response

GET = b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n"


class RecordingEdge:
    """An edge that records what a client's connection does. `responds`: it answers each request at once."""

    def __init__(self, *, responds: bool = False) -> None:
        client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0)
        client.state = ConnectionState.OPEN
        self.connection = ClientConnection(self, client)
        self.events: list[HttpEvent] = []
        self.written = b""
        self.is_closed = False
        self.postponed = 0
        self.refusals: list[str] = []
        self._responds = responds

    def write(self, connection: Any, data: bytes) -> None:
        self.written += data

    def close(self, connection: Any) -> None:
        self.is_closed = True

    def deliver(self, event: HttpEvent) -> None:
        self.events.append(event)
        if self._responds and isinstance(event, RequestEndOfMessage):
            self.respond(event.stream_id)

    def respond(self, stream_id: int) -> None:
        self.connection.send(ResponseHeaders(stream_id, new_response(204, b"No Content", ()), True))
        self.connection.send(ResponseEndOfMessage(stream_id))

    def refuse(self, error: InvalidMessage) -> http.Response:
        self.refusals.append(str(error))
        return new_response(error.status, b"", ())

    def continue_later(self, connection: object) -> None:
        self.postponed += 1

    def data(self) -> list[bytes]:
        return [event.data for event in self.events if isinstance(event, RequestData)]

    def requests(self) -> int:
        return sum(isinstance(event, RequestHeaders) for event in self.events)

    def kept_bytes(self) -> int:
        return len(self.connection._buffer)


def test_chunks_that_arrive_together_are_one_event() -> None:
    edge = RecordingEdge()
    edge.connection.receive(CHUNKED)
    edge.connection.receive(b"1\r\nx\r\n" * 500)
    assert edge.data() == [b"x" * 500]
    assert edge.kept_bytes() == 0


def test_chunks_are_read_in_bounded_numbers() -> None:
    edge = RecordingEdge()
    edge.connection.receive(CHUNKED)
    edge.connection.receive(b"1\r\nx\r\n" * 2 * MAX_CHUNKS_PER_TURN)
    assert (sum(map(len, edge.data())), edge.postponed) == (MAX_CHUNKS_PER_TURN - 1, 1)
    while edge.kept_bytes():
        edge.connection.process()
    assert sum(map(len, edge.data())) == 2 * MAX_CHUNKS_PER_TURN


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_chunks_may_be_split_anywhere(size: int) -> None:
    body = b'5;a="b"\r\nhello\r\n0A\r\n, worlds!!\r\n000\r\nx-trailer: 1\r\n\r\n'
    edge = RecordingEdge()
    edge.connection.receive(CHUNKED)
    for start in range(0, len(body), size):
        edge.connection.receive(body[start : start + size])
    assert b"".join(edge.data()) == b"hello, worlds!!"
    assert isinstance(edge.events[-1], RequestEndOfMessage)
    assert edge.refusals == []


def test_pipelined_requests_are_started_in_bounded_numbers() -> None:
    edge = RecordingEdge(responds=True)
    edge.connection.receive(GET * 100)
    assert (edge.requests(), edge.postponed) == (MAX_REQUESTS_PER_TURN, 1)
    edge.connection.receive(GET)  # data that arrives in between does not start more of them
    assert (edge.requests(), edge.postponed) == (MAX_REQUESTS_PER_TURN, 1)
    edge.connection.process()
    assert (edge.requests(), edge.postponed) == (2 * MAX_REQUESTS_PER_TURN, 2)
    while edge.requests() < 101:
        edge.connection.process()
    assert edge.written.count(b"HTTP/1.1 204") == 101
    assert edge.kept_bytes() == 0


def test_pipelined_requests_wait_for_the_response_before_them() -> None:
    edge = RecordingEdge()
    edge.connection.receive(GET + GET)
    assert edge.requests() == 1
    edge.respond(1)
    assert edge.postponed == 1
    edge.connection.process()
    assert edge.requests() == 2


def test_a_client_is_not_read_further_while_its_backlog_is_full() -> None:
    edge = RecordingEdge()
    edge.connection.receive(GET)
    assert not edge.connection.is_backlog_full
    edge.connection.receive(b"x" * (MAX_BACKLOG_BYTES + 1))
    assert edge.connection.is_backlog_full


def test_an_upload_is_no_backlog() -> None:
    edge = RecordingEdge()
    edge.connection.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    edge.connection.receive(b"x" * 500_000)
    assert not edge.connection.is_backlog_full
    assert edge.kept_bytes() == 0


def test_empty_lines_before_a_request_are_not_kept() -> None:
    """RFC 9112, 2.2"""
    edge = RecordingEdge()
    for _ in range(100):
        edge.connection.receive(b"\r\n" * 10_000 + b"\n" * 10_000)
    assert edge.kept_bytes() <= 1
    edge.connection.receive(GET)
    assert edge.requests() == 1


@pytest.mark.parametrize(
    ("data", "limit"),
    [
        (b"5;" + b"x" * 100, MAX_CHUNK_LINE_BYTES),
        (b"0" * 100, MAX_CHUNK_LINE_BYTES),
        (b"0\r\nx-trailer: 1\r\n" + b"x-y: 1\r\n" * 10, MAX_TRAILER_BYTES + 100),
        (b"0\r\nx-trailer: 1" + b"1" * 100, MAX_TRAILER_BYTES + 100),
    ],
    ids=["extension", "zeros", "trailers", "long trailer"],
)
def test_what_is_kept_of_a_chunked_body_is_bounded(data: bytes, limit: int) -> None:
    edge = RecordingEdge()
    edge.connection.receive(CHUNKED + data)
    while not edge.is_closed:
        assert edge.kept_bytes() <= limit
        edge.connection.receive(data[-8:])
    assert edge.written.startswith(b"HTTP/1.1 400")
    assert isinstance(edge.events[-1], RequestProtocolError)


def test_what_is_kept_of_a_head_is_bounded() -> None:
    """F-10.12"""
    edge = RecordingEdge()
    edge.connection.receive(GET[:-2] + b"x: ")
    while not edge.is_closed:
        assert edge.kept_bytes() <= MAX_HEAD_BYTES
        edge.connection.receive(b"x" * 1000)
    assert edge.written.startswith(b"HTTP/1.1 431")
    assert edge.requests() == 0


def test_nothing_is_read_after_an_invalid_request() -> None:
    edge = RecordingEdge(responds=True)
    edge.connection.receive(b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    edge.connection.receive(GET)
    assert edge.requests() == 0
    assert edge.written == b"HTTP/1.1 400 \r\nconnection: close\r\n\r\n"
    assert edge.is_closed
