"""Test harness: a real proxy in front of scripted machines, raw clients, and a check that nothing leaks."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from random import Random
from typing import Any

from simulator.clock import Clock
from simulator.events import Bus, Event, ExchangeAnswered, ExchangeFinished, ProxyLogged
from simulator.journal import Journal
from simulator.network_conditions import NetworkConditions
from simulator.proxy import ProxyCore, ProxyServer
from simulator.proxy.http.edge_layer import EdgeLayer
from simulator.routing import App, Fleet, Machine, Router, RoutingOptions, Trace
from simulator.routing.errors import BUG
from tests.asyncio_errors import LoggedErrors
from tests.proxy.client import Client, tls_context
from tests.proxy.h2_client import H2Client, Stream
from tests.proxy.machine import Handler, ScriptedMachine
from tests.proxy.websocket import upgrade
from tests.proxy.wire import DEADLINE_SECONDS, Message

AMS = "d8dd626f379508"
DFW = "286533db064e58"
DFW_2 = "4d891ee9b43e08"


class Harness:
    """The proxy under test with its machines, clients, events and traces."""

    def __init__(
        self,
        options: RoutingOptions | None = None,
        *,
        realtime: bool = False,
        app: App | None = None,
        extra_ports: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self.bus = Bus()
        self.clock = Clock(realtime=realtime)
        self.journal = Journal(self.bus)
        self.events: list[Event] = []
        self.bus.subscribe(self.events.append)
        self.start_requests: list[str] = []
        self.router = Router(
            Fleet.of([app or App("streams")]),
            options or RoutingOptions(),
            Random(7).randrange,
            request_start=self.start_requests.append,
        )
        self.network = NetworkConditions()
        self.core = ProxyCore(self.router, self.clock, self.bus, Random(7), self.network)
        self.server = ProxyServer(self.core, {"ams": 0, "dfw": 0}, dns_port=0, extra_ports=extra_ports)
        self.machines: list[ScriptedMachine] = []
        self.clients: list[Client | H2Client] = []
        self.errors = LoggedErrors()
        """mitmproxy logs its own crashes instead of raising them."""
        self.expected_bugs = 0
        """How many distinct bugs of flysim the test causes."""

    # Machines.

    async def add_machine(
        self, machine_id: str, region: str, handler: Handler, *, app: str = "streams"
    ) -> ScriptedMachine:
        """Start a machine that serves every connection with `handler`."""
        scripted = ScriptedMachine(handler)
        port = await scripted.listen()
        self.machines.append(scripted)
        number = sum(m.region == region for m in self.router.fleet.machines) + 1
        scripted.fleet_entry = Machine(
            machine_id, f"{region}-{number}", app, region, port=port, private_ip="::ffff:127.0.0.1"
        )
        self.router.fleet = self.router.fleet.with_machine(scripted.fleet_entry)
        return scripted

    def change(self, machine: ScriptedMachine, **changes: Any) -> None:
        """Change a machine's entry in the fleet."""
        machine.fleet_entry = replace(machine.fleet_entry, **changes)
        self.router.fleet = self.router.fleet.with_machine(machine.fleet_entry)

    # Clients.

    def port(self, edge: str = "ams") -> int:
        return self.server.addresses[edge][1]

    def url(self, path: str = "/", edge: str = "ams", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port(edge)}{path}"

    async def connect(self, edge: str = "ams", *, tls: bool = False, public_port: int = 80) -> Client:
        """An HTTP/1 client on a new connection."""
        context = tls_context("http/1.1") if tls else None
        client = Client(*await self._open(edge, context, public_port))
        self.clients.append(client)
        return client

    async def connect_h2(
        self, edge: str = "ams", *, tls: bool = False, window: int = 2**24, start: bool = True
    ) -> H2Client:
        """An HTTP/2 client, by prior knowledge or ALPN. `window`: its flow control windows, in bytes."""
        context = tls_context("h2") if tls else None
        client = H2Client(*await self._open(edge, context), window=window)
        if start:
            await client.start()
        self.clients.append(client)
        return client

    async def open_websocket(self, *, tls: bool = False, edge: str = "ams") -> tuple[Client, Message]:
        """A client that has sent a WebSocket handshake, and the head of the response."""
        client = await self.connect(edge, tls=tls)
        await client.send(upgrade())
        return client, await client.read_head()

    async def _open(
        self, edge: str, context: ssl.SSLContext | None, public_port: int = 80
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = "streams.fly.dev" if context else None
        return await asyncio.open_connection(
            *self.server.all_addresses[edge, public_port], ssl=context, server_hostname=name, limit=2**20
        )

    # Results.

    @property
    def traces(self) -> tuple[Trace, ...]:
        return self.journal.traces()

    def reported_bugs(self) -> list[str]:
        return [line.message for line in self.proxy_log() if line.code == BUG]

    def proxy_log(self) -> list[ProxyLogged]:
        return [event for event in self.events if isinstance(event, ProxyLogged)]

    async def finished(self, count: int = 1) -> tuple[Trace, ...]:
        """Wait until `count` exchanges have finished."""
        await until(lambda: self._count(ExchangeFinished) >= count)
        return self.traces

    async def answered(self, count: int = 1) -> tuple[Trace, ...]:
        """Wait until `count` exchanges have been answered."""
        await until(lambda: self._count(ExchangeAnswered) >= count)
        return self.traces

    def _count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def layers(self) -> list[EdgeLayer]:
        """The HTTP layers of all open client connections."""
        return [
            edge
            for handler in self.server._clients.values()
            if handler
            for edge in _edge_layers(handler.layer)
        ]

    def resource_counts(self) -> dict[str, int]:
        """The number of each kind of resource that the proxy keeps for its open client connections."""
        layers, handlers = self.layers(), self.server._clients.values()
        return {
            "streams": sum(len(edge.streams) for edge in layers),
            "commands": sum(len(edge._waiting) for edge in layers),
            "waiting": sum(len(edge._opening) for edge in layers),
            "machine connections": sum(len(edge.connections) - 1 for edge in layers),
            "transports": sum(len(handler.transports) - 1 for handler in handlers),
            "wake-ups": sum(len(handler.wakeup_timer) for handler in handlers),
        }

    def unsent_to_clients(self) -> int:
        """The number of bytes buffered for clients that do not read them."""
        return sum(
            _unsent(io)
            for handler in self.server._clients.values()
            for connection, io in handler.transports.items()
            if connection is handler.client
        )

    def unsent_to_machines(self) -> int:
        """The number of bytes buffered for machines that do not read them."""
        return sum(
            _unsent(io)
            for handler in self.server._clients.values()
            for connection, io in handler.transports.items()
            if connection is not handler.client
        )

    def buffered_uploads(self) -> int:
        """The number of bytes of request bodies that the proxy buffers."""
        return sum(
            sum(map(len, stream._body.chunks)) for layer in self.layers() for stream in layer.streams.values()
        )

    def buffered_responses(self) -> int:
        """The number of bytes of responses that the proxy buffers because of closed HTTP/2 windows."""
        connections = [layer.connections[layer.context.client] for layer in self.layers()]
        return sum(
            len(piece.data)
            for connection in connections
            for pieces in connection.h2_conn.stream_buffers.values()
            for piece in pieces
        )

    # Cleanup.

    async def close(self) -> None:
        await self.server.stop()
        for machine in self.machines:
            await machine.stop()
        for client in self.clients:
            await client.aclose()

    async def check_nothing_is_left(self) -> None:
        """Check that the proxy has no connections, tasks or handlers left once the clients have disconnected."""
        for client in self.clients:
            await client.aclose()
        await until(lambda: not self.server._clients)
        await until(
            lambda: all(not machine.open_connections for machine in self.machines),
            self._describe_open_connections,
        )
        assert not self.errors.texts, "\n".join(self.errors.texts)
        assert len(self.reported_bugs()) == self.expected_bugs, "\n".join(self.reported_bugs())
        for machine in self.machines:
            for failure in machine.failures:
                raise failure

    def _describe_open_connections(self) -> str:
        return ", ".join(
            f"{machine.open_connections} to {machine.fleet_entry.name}" for machine in self.machines
        )


def _edge_layers(layer: Any) -> Iterator[EdgeLayer]:
    while layer is not None:
        if isinstance(layer, EdgeLayer):
            yield layer
        layer = getattr(layer, "child_layer", None) or getattr(layer, "layer", None)


def _unsent(io: Any) -> int:
    return io.writer.transport.get_write_buffer_size() if io.writer is not None else 0


@asynccontextmanager
async def open_harness(
    options: RoutingOptions | None = None,
    *,
    realtime: bool = False,
    app: App | None = None,
    extra_ports: Mapping[tuple[str, int], int] | None = None,
    deadline_seconds: float = 90,
) -> AsyncIterator[Harness]:
    harness = Harness(options, realtime=realtime, app=app, extra_ports=extra_ports)
    logger = logging.getLogger("mitmproxy")
    logger.addHandler(harness.errors)
    before = asyncio.all_tasks()
    await harness.server.start()
    try:
        async with asyncio.timeout(deadline_seconds):
            yield harness
            await harness.check_nothing_is_left()
    finally:
        logger.removeHandler(harness.errors)
        await harness.close()
    mine = {*before, asyncio.current_task()}
    await until(lambda: asyncio.all_tasks() <= mine, lambda: f"left: {asyncio.all_tasks() - mine}")


async def until(condition: Callable[[], object], describe: Callable[[], str] | None = None) -> None:
    """Wait until `condition` is true, with a deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_SECONDS
    while not condition():
        if loop.time() > deadline:
            raise AssertionError(f"not within {DEADLINE_SECONDS} s: {describe() if describe else condition}")
        await asyncio.sleep(0.001)


def assert_proxy_response(response: Message | Stream, status: int = 502) -> None:
    """F-1.99: the body is empty and no header gives the reason."""
    assert response.status == status
    assert bytes(response.body) == b""
    assert response.get("content-length") == "0"
    assert response.get("via")
    assert (response.get("server") or "").startswith("Fly/")
    assert (response.get("fly-request-id") or "").endswith("-ams")
    assert response.get("date")
    names = [name for name, _ in response.fields if not name.startswith(":")]
    assert sorted(names) == ["content-length", "date", "fly-request-id", "server", "via"]


@contextmanager
def unresponsive_port() -> Iterator[int]:
    """A port whose listen queue is full: the kernel drops connection attempts."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
