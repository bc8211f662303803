"""flysim's side of the gateway: a few connections that wait there, each for one question or one client.

See `gateway.py` for what is said on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

_SPARE = 4
_PAUSE_SECONDS = 0.05
_CHUNK_BYTES = 65536

Address = tuple[str, int]
FindEdge = Callable[[int, str], Awaitable[Address | None]]
"""From a public port and the private address of whoever asks to where an edge listens for it."""


class Tunnel:
    """Keeps connections to the gateway at `address` from `open` to `close`."""

    def __init__(self, address: Address, token: str, names: Address, find_edge: FindEdge) -> None:
        self._address = address
        self._token = token
        self._names = names
        self._find_edge = find_edge
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        for _ in range(_SPARE):
            self._add()

    async def close(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self) -> None:
        task = asyncio.create_task(self._wait(), name="docker gateway")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self) -> None:
        """Until this connection is used; then another takes its place."""
        purpose = ""
        while not purpose:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(*self._address)
                try:
                    writer.write(f"{self._token}\n".encode())
                    purpose = (await reader.readline()).decode().strip()
                    if purpose:
                        self._add()
                        await self._serve(purpose, reader, writer)
                finally:
                    writer.close()
            if not purpose:  # The gateway does not listen yet, or its container ends.
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _serve(self, purpose: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = await self._find(purpose)
        if address is None:
            return
        own_reader, own_writer = await asyncio.open_connection(*address)
        try:
            await asyncio.gather(_pump(reader, own_writer), _pump(own_reader, writer))
        finally:
            own_writer.close()

    async def _find(self, purpose: str) -> Address | None:
        match purpose.split():
            case ["names"]:
                return self._names
            case ["edge", port, asker]:
                return await self._find_edge(int(port), asker)
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
