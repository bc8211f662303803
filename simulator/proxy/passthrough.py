"""TCP passthrough for services without the `http` handler: no Fly headers and no replay (F-9.4).

With the `proxy_proto` handler, the machine first gets the client's address in HAProxy's PROXY protocol (F-9.13).
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from simulator.events import ProxyLogged
from simulator.file_limit import is_shortage
from simulator.network_conditions import ResetTrigger
from simulator.proxy.core import ProxyCore
from simulator.proxy.http.convert import connect_failure_from_error
from simulator.proxy.transport.simulated_link import SimulatedLink, simulate_connect
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
"""The number of attempts that Fly's logs show for TCP connections (F-6.22)."""
_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ConnectError(Exception):
    """A connection to a machine could not be established."""

    def __init__(self, error: ProxyError) -> None:
        super().__init__(str(error))
        self.error = error


class Passthrough:
    """Accepts the TCP connections of one public port of one edge."""

    def __init__(self, core: ProxyCore, edge: str, public_port: int) -> None:
        self._core = core
        self._edge = edge
        self._public_port = public_port

    @property
    def applies(self) -> bool:
        """Whether the port belongs to a service without the `http` handler."""
        return self._find() is not None

    def _find(self) -> tuple[App, ServicePort] | None:
        """TCP connections name no host, so the first app with this port gets them."""
        for app in self._core.router.fleet.apps.values():
            port = app.find_port(self._public_port)
            if port is not None:
                return None if port.speaks_http else (app, port)
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one client connection until it closes."""
        try:
            await self._serve(reader, writer)
        except OSError:
            pass  # either side disconnected
        except Exception as bug:
            self._core.report_bug(bug)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = self._find()
        if found is None:
            return self._log(None, no_route(self._public_port))
        app, port = found
        tried: set[str] = set()
        error = no_route(self._public_port)
        for attempt in range(CONNECT_ATTEMPTS):  # Fly's own retries, on the simulated clock
            machine = await self._await_machine(app, tried)
            if machine is None:
                return self._log(app, error)
            try:
                async with self._connected(machine) as upstream:
                    reset_trigger = ResetTrigger(self._core.network, self._edge, machine)
                    return await self._relay(port, (reader, writer), upstream, reset_trigger)
            except ConnectError as failed:
                tried.add(machine.id)
                error = retries_exhausted(attempt + 1, failed.error)
            await self._core.clock.sleep(FIRST_PAUSE_SECONDS * 2.0**attempt)
        return self._log(app, error)

    async def _await_machine(self, app: App, tried: set[str]) -> Machine | None:
        """A machine that accepts connections; a stopped one is started if necessary (F-5.25).

        Once every machine has been tried, all of them are candidates again (F-5.41). None: no machine started in time.
        """
        clock, start_requested = self._core.clock, False
        deadline = clock.now() + START_SECONDS
        while clock.now() < deadline:  # The emulated proxy's own wait, against the simulated clock
            choice = self._choose(app, tried)
            if choice.machine is None and choice.start is None and tried:
                tried.clear()
                choice = self._choose(app, tried)
            if choice.start is None:
                return choice.machine
            if not start_requested:
                self._core.router.request_start(choice.start.id)
                start_requested = True
            await asyncio.sleep(POLL_SECONDS)
        return None

    @asynccontextmanager
    async def _connected(self, machine: Machine) -> AsyncIterator[Streams]:
        """A connection to `machine` that counts as load until it closes (F-5.38)."""
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
        """Raises ConnectError if the connection fails, on its own or because of a fault."""
        core, edge = self._core, self._edge
        if core.network:
            failing = core.network.take_failure(edge, machine)
            cause = failing or core.network.find_cut(edge, machine)
            if cause is not None:
                core.log_fault(cause, machine)
            if failing is not None:
                # TCP has no status codes: where an HTTP request would get one, the connection is reset.
                failure = failing.failure if isinstance(failing.failure, Failure) else Failure.RESET
                raise ConnectError(delivery_error(failure, port))
            if not await simulate_connect(core, edge, machine, _CONNECT_SECONDS):
                raise ConnectError(delivery_error(Failure.TIMED_OUT, port))
        try:
            streams = await _connect(machine.host, port)
        except ConnectError as failed:
            if isinstance(failed.__cause__, OSError) and is_shortage(failed.__cause__.errno):
                core.log_shortage(f"{machine.name} cannot be reached", edge, failed.__cause__)
            raise
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
        reset_trigger: ResetTrigger,
    ) -> None:
        if "proxy_proto" in port.handlers:
            machine[1].write(
                proxy_protocol_header(
                    client[1].get_extra_info("peername"),
                    client[1].get_extra_info("sockname"),
                    port.proxy_proto,
                )
            )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(client[0], machine[1]))
                group.create_task(_pump(machine[0], client[1], reset_trigger))
        except* OSError:
            pass  # one side disconnected: the other is closed below
        finally:
            machine[1].close()

    def _log(self, app: App | None, error: ProxyError) -> None:
        """Log the error; the client only sees its connection closed (F-6.51)."""
        name, now = app.name if app else "", self._core.clock.now()
        self._core.bus.publish(ProxyLogged(now, name, None, self._edge, "error", str(error), error.code))


async def _connect(host: str, port: int) -> Streams:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await asyncio.open_connection(host, port)
    except OSError as error:
        raise ConnectError(delivery_error(connect_failure_from_error(error), port)) from error


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, reset_trigger: ResetTrigger | None = None
) -> None:
    """Copy `source` to `sink` until it ends. Raises ConnectionResetError when a fault resets the connection."""
    while data := await source.read(_CHUNK_BYTES):
        reset = reset_trigger.count(len(data)) if reset_trigger is not None else None
        sink.write(data[: reset[0]] if reset else data)
        await sink.drain()
        if reset:
            raise ConnectionResetError(reset[1].description)
    if sink.can_write_eof():
        sink.write_eof()


def proxy_protocol_header(client: tuple[str, int], edge: tuple[str, int], version: str) -> bytes:
    """The PROXY protocol header with the client's address: a line of text in version 1, binary in version 2."""
    addresses = [ipaddress.ip_address(address[0]) for address in (client, edge)]
    family = addresses[0].version
    if version != "v2":
        return f"PROXY TCP{family} {client[0]} {edge[0]} {client[1]} {edge[1]}\r\n".encode()
    body = b"".join(address.packed for address in addresses) + struct.pack("!HH", client[1], edge[1])
    return _V2_SIGNATURE + struct.pack("!BBH", 0x21, 0x11 if family == 4 else 0x21, len(body)) + body
