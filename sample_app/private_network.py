"""Private network: finds the app's other machines in `.internal` DNS and opens WebSockets to them directly.

Connections bypass the proxy (F-8.18) and go to the app's own port (F-8.19). The receiver recognizes them because the
headers that the proxy sets are missing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from ipaddress import IPv6Address

from dns.asyncresolver import Resolver
from dns.exception import DNSException
from starlette.requests import HTTPConnection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

PATH = "/machines"
RESPONSE_TIMEOUT_SECONDS = 2.0
CLOSE_TIMEOUT_SECONDS = 0.2


class Unreachable(Exception):
    """A name server or a machine does not respond, or its response is invalid; the message says which."""


def came_through_proxy(request: HTTPConnection) -> bool:
    """The proxy sets this header on every request and overwrites the client's value (F-4.1)."""
    return "fly-client-ip" in request.headers


class PrivateNetwork:
    def __init__(self, *, app_name: str | None, port: int, dns_server: tuple[str, int] | None) -> None:
        self._app_name = app_name
        self._port = port
        self._dns_server = dns_server

    async def machine_ids(self) -> list[str]:
        """Ids of the app's started machines, from a TXT record `id region,id region` (F-8.9). Raises Unreachable."""
        if self._app_name is None:
            raise Unreachable("FLY_APP_NAME is not set")
        strings = await self._resolve(f"vms.{self._app_name}.internal.", "TXT")
        entries = (entry.split() for text in strings for entry in text.split(","))
        return [entry[0] for entry in entries if entry]

    @asynccontextmanager
    async def link(self, machine_id: str) -> AsyncIterator[ClientConnection]:
        """A WebSocket to that machine. Raises Unreachable, also if the connection breaks while it is in use."""
        try:
            address = await self._address_of(machine_id)
            async with connect(
                f"ws://{address}:{self._port}{PATH}",
                proxy=None,
                compression=None,
                open_timeout=RESPONSE_TIMEOUT_SECONDS,
                close_timeout=CLOSE_TIMEOUT_SECONDS,
            ) as websocket:
                yield websocket
        except (OSError, WebSocketException) as error:
            raise Unreachable(f"machine {machine_id} does not respond: {error}") from error

    async def _address_of(self, machine_id: str) -> str:
        """The machine's address in URL form (F-8.3)."""
        addresses = await self._resolve(f"{machine_id}.vm.{self._app_name}.internal.", "AAAA")
        address = IPv6Address(addresses[0])
        return str(address.ipv4_mapped or f"[{address}]")

    async def _resolve(self, name: str, kind: str) -> list[str]:
        try:
            answer = await self._resolver.resolve(name, kind)
        except (DNSException, OSError) as error:
            raise Unreachable(f"no {kind} record of {name} ({type(error).__name__})") from error
        if kind == "TXT":
            return [b"".join(record.strings).decode() for record in answer]
        return [record.address for record in answer]

    @cached_property
    def _resolver(self) -> Resolver:
        resolver = Resolver(configure=self._dns_server is None)
        if self._dns_server is not None:
            resolver.nameservers = [self._dns_server[0]]
            resolver.port = self._dns_server[1]
        resolver.lifetime = RESPONSE_TIMEOUT_SECONDS
        return resolver
