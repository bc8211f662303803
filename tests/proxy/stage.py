"""A real proxy in front of machines that are small servers in this process, and raw clients to talk to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

from simulator.clock import Clock
from simulator.events import Bus, Event, ExchangeFinished
from simulator.journal import Journal
from simulator.proxy import ProxyCore, ProxyServer
from simulator.routing import App, Fleet, Machine, Router, RoutingOptions, Trace

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DEADLINE_SECONDS = 10.0

AMS = "d8dd626f379508"
DFW = "286533db064e58"


class Stage:
    """The proxy under test, its machines, and what they saw."""

    def __init__(self, options: RoutingOptions | None = None, *, realtime: bool = False) -> None:
        self.bus = Bus()
        self.clock = Clock(realtime=realtime)
        self.journal = Journal(self.bus)
        self.events: list[Event] = []
        self.bus.subscribe(self.events.append)
        self._changed = asyncio.Condition()
        app = App("streams")
        self.router = Router(Fleet.of([app]), options or RoutingOptions(), Random(7).randrange)
        core = ProxyCore(self.router, self.clock, self.bus, Random(7))
        self.server = ProxyServer(core, {"ams": 0, "dfw": 0}, dns_port=0)
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Future[None]] = set()

    async def add_machine(self, machine_id: str, region: str, handler: Handler) -> Machine:
        """Start a machine whose every connection is served by `handler`."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)
            writer.close()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(serve(reader, writer))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024)
        self._servers.append(server)
        port = server.sockets[0].getsockname()[1]
        number = sum(m.region == region for m in self.router.fleet.machines) + 1
        machine = Machine(
            machine_id, f"{region}-{number}", "streams", region, port=port, private_ip="::ffff:127.0.0.1"
        )
        self.router.fleet = self.router.fleet.with_machine(machine)
        return machine

    def port(self, edge: str = "ams") -> int:
        return self.server.addresses[edge][1]

    def url(self, path: str = "/", edge: str = "ams", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port(edge)}{path}"

    @property
    def traces(self) -> tuple[Trace, ...]:
        return self.journal.traces()

    async def finished(self, count: int = 1) -> tuple[Trace, ...]:
        """Wait until so many exchanges have ended."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while sum(isinstance(event, ExchangeFinished) for event in self.events) < count:
                await asyncio.sleep(0)
        return self.traces

    async def close(self) -> None:
        await self.server.stop()
        for server in self._servers:
            server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


@asynccontextmanager
async def open_stage(options: RoutingOptions | None = None, *, realtime: bool = False) -> AsyncIterator[Stage]:
    stage = Stage(options, realtime=realtime)
    await stage.server.start()
    try:
        async with asyncio.timeout(60):
            yield stage
    finally:
        await stage.close()


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answering(answer: bytes, *, close: bool = False) -> Handler:
    """A machine that answers every request (without a body) with the same bytes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_head(reader)
            writer.write(answer)
            if close:
                return
            await writer.drain()

    return handler


def replaying(value: str, status: str = "307 Temporary Redirect", *, close: bool = False) -> Handler:
    body = b"redirecting..."
    head = f"HTTP/1.1 {status}\r\nfly-replay: {value}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    return answering(head + body, close=close)


OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"


class Client:
    """A raw HTTP/1.1 client on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, path: str = "/", headers: str = "") -> tuple[bytes, bytes]:
        await self.send(f"GET {path} HTTP/1.1\r\nhost: streams.fly.dev\r\n{headers}\r\n".encode())
        return await self.read_response()

    async def read_response(self) -> tuple[bytes, bytes]:
        """Head and body of a response with a Content-Length."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            head = await read_head(self.reader)
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            return head, await self.reader.readexactly(length)

    async def closed(self) -> bytes:
        """What comes until the proxy closes the connection."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def close(self) -> None:
        self.writer.close()


async def connect(stage: Stage, edge: str = "ams") -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", stage.port(edge)))
