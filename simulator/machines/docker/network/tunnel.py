"""Tunnel to the gateway container: idle connections, each used for one DNS query or one `.flycast` client.

The protocol is described in `gateway.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from simulator.retry import retry_on

_IDLE_CONNECTIONS = 4
_RECONNECT_SECONDS = 0.05
_CHUNK_BYTES = 65536

Address = tuple[str, int]
FindEdge = Callable[[int, str], Awaitable[Address | None]]
"""Takes a public port and the client's private address, and returns the edge's address."""


class Tunnel:
    """Keeps idle connections to the gateway at `address`, from `open` to `close`."""

    def __init__(self, address: Address, token: str, dns_address: Address, find_edge: FindEdge) -> None:
        self._address = address
        self._token = token
        self._dns_address = dns_address
        self._find_edge = find_edge
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        for _ in range(_IDLE_CONNECTIONS):
            self._add()

    async def close(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self) -> None:
        task = asyncio.create_task(self._serve_once(), name="docker gateway")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_once(self) -> None:
        """Wait until the gateway uses the connection, replace it with an idle one, then serve it."""
        connection: tuple[str, asyncio.StreamReader, asyncio.StreamWriter] = await retry_on(
            OSError, interval_seconds=_RECONNECT_SECONDS
        )(self._connect)
        purpose, reader, writer = connection
        try:
            self._add()
            with suppress(OSError):
                await self._serve(purpose, reader, writer)
        finally:
            writer.close()

    async def _connect(self) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises OSError if the gateway does not listen yet, or if its container stops."""
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(f"{self._token}\n".encode())
            purpose = (await reader.readline()).decode().strip()
            if not purpose:
                raise ConnectionResetError("the gateway closed the connection")
        except BaseException:
            writer.close()
            raise
        return purpose, reader, writer

    async def _serve(self, purpose: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = await self._find_target(purpose)
        if address is None:
            return
        own_reader, own_writer = await asyncio.open_connection(*address)
        try:
            await asyncio.gather(_pump(reader, own_writer), _pump(own_reader, writer))
        finally:
            own_writer.close()

    async def _find_target(self, purpose: str) -> Address | None:
        match purpose.split():
            case ["dns"]:
                return self._dns_address
            case ["edge", port, client_ip]:
                return await self._find_edge(int(port), client_ip)
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
