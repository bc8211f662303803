"""Services without the `http` handler: bytes pass between client and machine, with no Fly header and no replay.

Source: F-9.4. With `proxy_proto` the machine is first told who the client is, in HAProxy's PROXY protocol (F-9.13).
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct

from simulator.events import ProxyLogged
from simulator.proxy.core import ProxyCore
from simulator.routing import App, Machine
from simulator.routing.errors import no_route
from simulator.routing.selection import Selector, Target
from simulator.routing.service import ServicePort

_CHUNK_BYTES = 65536
_CONNECT_SECONDS = 8.0
_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


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
        machine = self._choose(found[0]) if found else None
        if found is None or machine is None:
            self._log_nobody(found[0].name if found else "")
            return
        router = self._core.router
        service = router.fleet.find_service(machine, self._public_port)
        assert service is not None, "selection only finds machines that offer the port"
        place = router.load.take(machine.id, service)
        try:
            port = router.fleet.port_of(machine, self._public_port)
            async with asyncio.timeout(_CONNECT_SECONDS):
                upstream = await asyncio.open_connection(machine.host, port)
            await self._relay(found[1], (reader, writer), upstream)
        finally:
            router.load.release(place)

    def _choose(self, app: App) -> Machine | None:
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
        return selector.select(Target(app.name)).machine

    async def _relay(
        self,
        port: ServicePort,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        machine: tuple[asyncio.StreamReader, asyncio.StreamWriter],
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
                group.create_task(_pump(machine[0], client[1]))
        except* OSError:
            pass  # one side hung up: the other is closed below
        finally:
            machine[1].close()

    def _log_nobody(self, app: str) -> None:
        """The client sees its connection closed (F-6.51)."""
        error = no_route(self._public_port)
        now = self._core.clock.now()
        self._core.bus.publish(ProxyLogged(now, app, None, self._edge, "error", str(error), error.code))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK_BYTES):
        sink.write(data)
        await sink.drain()
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
