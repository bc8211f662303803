"""HTTP/1 connections to clients and machines, with what mitmproxy's own leave out.

mitmproxy fails on trailers and takes an interim response (103 Early Hints) for the final one; both are dropped
here. Its `Http1Client` tells by `stream_id` whether it is between two exchanges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h11
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Server

MAX_HEAD_BYTES = 256 * 1024
"""A message head larger than this ends the connection; Fly does not document its limit (F-10.12)."""


class _BodyReader:
    """A body reader of h11's that forgets trailers."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def __call__(self, buffer: Any) -> Any:
        return self._without_trailers(self._reader(buffer))

    def read_eof(self) -> Any:
        return self._without_trailers(self._reader.read_eof())

    @staticmethod
    def _without_trailers(event: Any) -> Any:
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) and event.headers else event


class _Lenient:
    """Mixed into mitmproxy's HTTP/1 connections."""

    _reader: _BodyReader

    @property
    def body_reader(self) -> _BodyReader:
        return self._reader

    @body_reader.setter
    def body_reader(self, reader: Any) -> None:
        self._reader = _BodyReader(reader)


class ClientConnection(_Lenient, Http1Server):  # type: ignore[misc]
    """The client's side of HTTP/1."""

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        yield from super().read_headers(event)
        if self.state == self.read_headers and len(self.buf) > MAX_HEAD_BYTES:
            yield commands.SendData(
                self.conn,
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            )
            yield commands.CloseConnection(self.conn)


class MachineConnection(_Lenient, Http1Client):  # type: ignore[misc]
    """One connection to a machine, for one exchange after the other."""

    reused = False
    """Whether an exchange before the present one used it."""

    @property
    def is_idle(self) -> bool:
        """Ready for another exchange: nothing is under way and both ends are open."""
        return self.stream_id is None and self.conn.state is ConnectionState.OPEN

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        if self.request is not None and isinstance(event, events.DataReceived):
            self._drop_interim_responses()
        yield from super().read_headers(event)

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


class DetachedConnection(layer.Layer):
    """Stands where a connection was that no exchange cares for any more: whatever comes of it is dropped.

    Without it, a machine that replays and hangs up late would end the client's new WebSocket.
    """

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from ()
