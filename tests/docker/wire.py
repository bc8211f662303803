"""A wire to the real engine that can be cut, or held so that the engine's words do not come through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ENGINE = "/var/run/docker.sock"


class Wire:
    """Passes connections on from a socket of its own, in a thread of its own."""

    def __init__(self, socket: Path) -> None:
        self.host = f"unix://{socket}"
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def hint(self) -> None:
        self._do(self._mend())

    def cut(self) -> None:
        """All connections at once, and no new ones."""
        self._do(self._cut())

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _mend(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, self._socket)

    async def _cut(self) -> None:
        assert self._server is not None
        self._server.close()
        self._socket.unlink(missing_ok=True)
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(ENGINE)
        try:
            ways = [asyncio.create_task(_pump(*way)) for way in ((reader, back), (there, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ways:
                each.cancel()
            for end in (writer, back):
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@contextmanager
def wire_to_engine(socket: Path) -> Iterator[Wire]:
    wire = Wire(socket)
    wire.hint()
    try:
        yield wire
    finally:
        wire.close()
