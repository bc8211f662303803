"""What a machine sent before it reset its connection still counts.

A machine that answers without reading the request's body and closes resets the connection. asyncio then drops
what has arrived: with the error the reader gives nothing more, and what the kernel holds is never read. But a
replay is a replay, however its connection ends.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from mitmproxy.proxy.server import ConnectionIO

_MOST_BYTES = 16 * 1024 * 1024
"""More than a kernel keeps for one connection."""


def deliver_data_before_reset(connection: ConnectionIO, told: Callable[[], None]) -> None:
    """Let this connection end, where it would with an error, with all that had arrived and then its end.

    `told` is called when it was reset.
    """
    reader, writer = connection.reader, connection.writer
    if isinstance(reader, asyncio.StreamReader) and isinstance(writer, asyncio.StreamWriter):

        def end(exc: BaseException) -> None:
            told()
            _end(reader, writer)

        reader.set_exception = end  # type: ignore[assignment,method-assign]


def was_reset_since(connection: ConnectionIO | None) -> bool:
    """Whether the other side refused what was sent after it had closed its own."""
    writer = connection.writer if connection is not None else None
    if not isinstance(writer, asyncio.StreamWriter):
        return False
    end_point = writer.get_extra_info("socket")
    return end_point is not None and end_point.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def _end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """asyncio calls this while the socket is still open."""
    left = _MOST_BYTES
    with suppress(OSError):
        while left > 0 and (data := os.read(writer.get_extra_info("socket").fileno(), 65536)):
            reader.feed_data(data)
            left -= len(data)
    reader.feed_eof()
