"""Scripted machines: small servers in the test process that run a handler for each connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from simulator.routing import Machine
from tests.proxy import websocket as ws
from tests.proxy.wire import Message, Wire

Handler = Callable[["MachineWire"], Awaitable[None]]

CONTENT_TYPE = "application/vnd.fly.replay+json"
"""The content type of a replay body."""
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"


class MachineWire(Wire):
    """The machine's side of a connection from the proxy."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[Message], number: int
    ) -> None:
        super().__init__(reader, writer)
        self._requests = requests
        self.number = number
        """Counts the machine's connections, from 1."""

    async def read_request_head(self) -> Message:
        message = Message(await self.reader.readuntil(b"\r\n\r\n"))
        self._requests.append(message)
        return message

    async def read_request(self) -> Message:
        return await self.read_body(await self.read_request_head())


class ScriptedMachine:
    """A machine with its fleet entry and a record of the requests it received."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[Message] = []
        self.connections = 0
        """The number of connections accepted so far."""
        self.open_connections = 0
        self.failures: list[BaseException] = []
        """Exceptions raised by the handler itself, which are errors of the test."""
        self.fleet_entry: Machine
        self.server: asyncio.Server | None = None
        self._tasks: set[asyncio.Future[None]] = set()

    @property
    def id(self) -> str:
        return self.fleet_entry.id

    async def listen(self, port: int = 0) -> int:
        self.server = await asyncio.start_server(
            self._accept, "127.0.0.1", port, backlog=1024, limit=2**20, reuse_address=True
        )
        return int(self.server.sockets[0].getsockname()[1])

    async def restart(self) -> None:
        """Listen on the same port again."""
        await self.listen(self.fleet_entry.port)

    async def stop(self) -> None:
        """Stop listening and close every connection, as when a process exits."""
        if self.server is not None:
            self.server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.open_connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.handler(MachineWire(reader, writer, self.requests, number))
        except Exception as failure:
            self.failures.append(failure)
        finally:
            self.open_connections -= 1
            writer.close()


def responding(response: bytes, *, close: bool = False) -> Handler:
    """A machine that sends the same bytes in response to every request; with `close`, it closes right afterwards."""

    async def handler(wire: MachineWire) -> None:
        while True:
            await wire.read_request()
            wire.writer.write(response)
            if close:
                return
            await wire.writer.drain()

    return handler


def replaying(value: str, status: str = "307 Temporary Redirect", *, close: bool = False) -> Handler:
    body = b"redirecting..."
    head = f"HTTP/1.1 {status}\r\nfly-replay: {value}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    return responding(head + body, close=close)


def replay_head(body: bytes, content_type: str = CONTENT_TYPE, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def replaying_body(**instruction: Any) -> Handler:
    return responding(replay_head(json.dumps(instruction).encode()))


def silent() -> Handler:
    """A machine that reads and never responds."""

    async def handler(wire: MachineWire) -> None:
        while await wire.reader.read(65536):
            pass

    return handler


def accepting(then: Handler | None = None, *, early: bytes = b"") -> Handler:
    """A machine that accepts a WebSocket, sends `early` in the same packet, and continues with `then`."""

    async def handler(wire: MachineWire) -> None:
        request = await wire.read_request_head()
        await wire.send(ws.accept(request.get("sec-websocket-key") or "") + early)
        await (then(wire) if then else wire.read_to_end())

    return handler


def echoing() -> Handler:
    """A machine that accepts a WebSocket and sends every byte back."""

    async def echo(wire: MachineWire) -> None:
        while data := await wire.reader.read(65536):
            await wire.send(data)

    return accepting(echo)


async def echoing_target(wire: MachineWire) -> None:
    while True:
        target = (await wire.read_request()).target.encode()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(target), target))
