"""Reset handling: delivers the data that a machine sent before it reset its connection.

A machine that responds and closes without reading the request's body resets the connection. asyncio then drops the
data that has arrived: the reader raises the error, and what is left in the kernel is never read. A response must
still count, a replay in particular.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

from mitmproxy.connection import Connection
from mitmproxy.proxy.server import ConnectionIO

from simulator.proxy.http.convert import RESET

_MAX_BYTES = 16 * 1024 * 1024
"""More than a kernel buffers for one connection."""


def deliver_data_before_reset(io: ConnectionIO, connection: Connection) -> None:
    """Make the reader of `io` return all data that has arrived, then EOF, where it would raise an error.

    `connection.error` is RESET from then on.
    """
    reader, writer = io.reader, io.writer
    if isinstance(reader, asyncio.StreamReader) and isinstance(writer, asyncio.StreamWriter):

        def end(exc: BaseException) -> None:
            connection.error = RESET
            _read_to_end(reader, writer)

        reader.set_exception = end  # type: ignore[assignment,method-assign]


def was_reset_after_close(io: ConnectionIO | None) -> bool:
    """Whether the machine closed its connection, then reset it because of data that arrived after that."""
    writer = io.writer if io is not None else None
    if not isinstance(writer, asyncio.StreamWriter):
        return False
    own_socket = writer.get_extra_info("socket")
    return own_socket is not None and own_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def _read_to_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what the kernel has buffered. asyncio calls this while the socket is still open."""
    remaining = _MAX_BYTES
    with suppress(OSError):
        while remaining > 0 and (data := os.read(writer.get_extra_info("socket").fileno(), 65536)):
            reader.feed_data(data)
            remaining -= len(data)
    reader.feed_eof()
