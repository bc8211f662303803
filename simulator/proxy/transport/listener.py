"""Listening socket that accepts connections in bounded numbers, and pauses when file descriptors run out.

asyncio's own server tries to accept as many connections as its backlog has room for, and reports each failure with a
traceback: without free file descriptors, thousands of them per second.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from simulator.file_limit import is_shortage

MAX_ACCEPTS_PER_TURN = 32
"""How many connections are accepted before open ones get their turn."""
PAUSE_SECONDS = 0.25
"""How long to wait for free file descriptors, in real time."""
_BACKLOG = 1024

Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


class Listener:
    """One listening TCP socket. `accept` is called with the streams of each new connection.

    `on_pause` is called once per shortage of file descriptors. Raises OSError if the address cannot be used.
    """

    def __init__(self, host: str, port: int, accept: Accept, on_pause: Callable[[OSError], None]) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        self._accept = accept
        self._on_pause = on_pause
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._is_short = False
        self._loop.add_reader(self._socket, self._accept_some)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._socket.getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Stop accepting. Connections that were accepted stay open."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept_some(self) -> None:
        for _ in range(MAX_ACCEPTS_PER_TURN):
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:  # all of them are accepted
                self._is_short = False
                return
            except (InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if not is_shortage(error.errno):
                    raise
                self._wait_for_files(error)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._open_streams(connection), name="accepted connection")
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _wait_for_files(self, error: OSError) -> None:
        if not self._is_short:
            self._is_short = True
            self._on_pause(error)
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket, self._accept_some)

    async def _open_streams(self, connection: socket.socket) -> None:
        reader = asyncio.StreamReader(loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        try:
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:  # the client has disconnected
            connection.close()
            return
        self._accept(reader, asyncio.StreamWriter(transport, protocol, reader, self._loop))
