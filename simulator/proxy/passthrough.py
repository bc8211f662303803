"""Services without the `http` handler: bytes pass between client and machine, with no Fly header and no replay.

Source: F-9.4. With `proxy_proto` the machine is first told who the client is, in HAProxy's PROXY protocol (F-9.13).
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from simulator.events import ProxyLogged
from simulator.network_conditions import Meter
from simulator.proxy.core import ProxyCore
from simulator.proxy.http.convert import failure_of
from simulator.proxy.transport.simulated_link import SimulatedLink, cross
from simulator.routing import App, Failure, Machine
from simulator.routing.balancing.balancer import POLL_SECONDS
from simulator.routing.balancing.route import FIRST_PAUSE_SECONDS
from simulator.routing.balancing.selection import Choice, Selector, Target
from simulator.routing.errors import ProxyError, delivery_error, no_route, retries_exhausted
from simulator.routing.options import START_SECONDS
from simulator.routing.service import ServicePort

_CHUNK_BYTES = 65536
_CONNECT_SECONDS = 8.0
CONNECT_ATTEMPTS = 6
"""As Fly's logs have it for raw connections (F-6.22)."""
_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ConnectError(Exception):
    """No connection to a machine came about."""

    def __init__(self, error: ProxyError) -> None:
        super().__init__(str(error))
        self.error = error


class Passthrough:
    """One public port of one edge."""

    def __init__(self, core: ProxyCore, edge: str, public_port: int) -> None:
        self._core = core
        self._edge = edge
        self._public_port = public_port

    @property
    def applies(self) -> bool:
        """Whether the port belongs to a service that is not HTTP."""
        return self._find() is not None

    def _find(self) -> tuple[App, ServicePort] | None:
        """Raw connections name no host: the first app with the port has it."""
        for app in self._core.router.fleet.apps.values():
            port = app.find_port(self._public_port)
            if port is not None:
                return None if port.speaks_http else (app, port)
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection, to its end."""
        try:
            await self._serve(reader, writer)
        except OSError:
            pass  # either side hung up
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = self._find()
        if found is None:
            return self._log(None, no_route(self._public_port))
        app, port = found
        tried: set[str] = set()
        error = no_route(self._public_port)
        for attempt in range(CONNECT_ATTEMPTS):
            machine = await self._await_machine(app, tried)
            if machine is None:
                return self._log(app, error)
            try:
                async with self._connected(machine) as upstream:
                    meter = Meter(self._core.network, self._edge, machine)
                    return await self._relay(port, (reader, writer), upstream, meter)
            except ConnectError as problem:
                tried.add(machine.id)
                error = retries_exhausted(attempt + 1, problem.error)
            await self._core.clock.sleep(FIRST_PAUSE_SECONDS * 2.0**attempt)
        return self._log(app, error)

    async def _await_machine(self, app: App, tried: set[str]) -> Machine | None:
        """One that takes connections; one that rests is started for it (F-5.25). All were tried: anew (F-5.41)."""
        clock, asked = self._core.clock, False
        deadline = clock.now() + START_SECONDS
        while clock.now() < deadline:
            choice = self._choose(app, tried)
            if choice.machine is None and choice.start is None and tried:
                tried.clear()
                choice = self._choose(app, tried)
            if choice.start is None:
                return choice.machine
            if not asked:
                self._core.router.request_start(choice.start.id)
                asked = True
            await asyncio.sleep(POLL_SECONDS)
        return None

    @asynccontextmanager
    async def _connected(self, machine: Machine) -> AsyncIterator[Streams]:
        """A connection that counts as load while it lasts (F-5.38)."""
        router = self._core.router
        service = router.fleet.find_service(machine, self._public_port)
        assert service is not None, "selection only finds machines that offer the port"
        port = router.fleet.port_of(machine, self._public_port)
        load = router.load
        place = load.take(machine.id, service)
        try:
            yield await self._connect(machine, port)
        finally:
            load.release(place)

    async def _connect(self, machine: Machine, port: int) -> Streams:
        """Raises ConnectError, also where a fault lets no connection come about."""
        core, edge = self._core, self._edge
        if core.network:
            failing = core.network.take_failure(edge, machine)
            cause = failing or core.network.find_cut(edge, machine)
            if cause is not None:
                core.log_fault(cause, machine)
            if failing is not None:
                # There are no answers here: a connection that would get a bad one is reset.
                how = failing.how if isinstance(failing.how, Failure) else Failure.RESET
                raise ConnectError(delivery_error(how, port))
            if not await cross(core, edge, machine, _CONNECT_SECONDS):
                raise ConnectError(delivery_error(Failure.TIMED_OUT, port))
        streams = await _connect(machine.host, port)
        SimulatedLink(core, edge, machine, *streams)
        return streams

    def _choose(self, app: App, tried: set[str]) -> Choice:
        router, now = self._core.router, self._core.clock.now()
        selector = Selector(
            router.fleet,
            router.load,
            self._edge,
            self._public_port,
            now,
            router.chance,
            router.aliases,
        )
        return selector.select(Target(app.name), tried)

    async def _relay(
        self,
        port: ServicePort,
        client: Streams,
        machine: Streams,
        meter: Meter,
    ) -> None:
        if "proxy_proto" in port.handlers:
            machine[1].write(
                proxy_header(
                    client[1].get_extra_info("peername"),
                    client[1].get_extra_info("sockname"),
                    port.proxy_proto,
                )
            )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(client[0], machine[1]))
                group.create_task(_pump(machine[0], client[1], meter))
        except* OSError:
            pass  # one side hung up: the other is closed below
        finally:
            machine[1].close()

    def _log(self, app: App | None, error: ProxyError) -> None:
        """The client sees its connection closed, and no more (F-6.51)."""
        name, now = app.name if app else "", self._core.clock.now()
        self._core.bus.publish(ProxyLogged(now, name, None, self._edge, "error", str(error), error.code))


async def _connect(host: str, port: int) -> Streams:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await asyncio.open_connection(host, port)
    except OSError as problem:
        raise ConnectError(delivery_error(failure_of(problem), port)) from problem


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, meter: Meter | None = None) -> None:
    """Raises ConnectionResetError where `meter` says that a fault ends it."""
    while data := await source.read(_CHUNK_BYTES):
        broken = meter.take(len(data)) if meter is not None else None
        sink.write(data[: broken[0]] if broken else data)
        await sink.drain()
        if broken:
            raise ConnectionResetError(broken[1].words)
    if sink.can_write_eof():
        sink.write_eof()


def proxy_header(client: tuple[str, int], edge: tuple[str, int], version: str) -> bytes:
    """The line, or in version 2 the block, that tells the machine of its client."""
    addresses = [ipaddress.ip_address(address[0]) for address in (client, edge)]
    family = addresses[0].version
    if version != "v2":
        return f"PROXY TCP{family} {client[0]} {edge[0]} {client[1]} {edge[1]}\r\n".encode()
    body = b"".join(address.packed for address in addresses) + struct.pack("!HH", client[1], edge[1])
    return _V2_SIGNATURE + struct.pack("!BBH", 0x21, 0x11 if family == 4 else 0x21, len(body)) + body
