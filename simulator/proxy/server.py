"""Proxy server: one listener per edge and public port, and a name server, on a minimal mitmproxy master.

Stock mitmproxy runs about forty addons on every hook and starts a task for each. Our master has only the addons that
the layers need, and our connection handler skips hooks that no addon implements.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from mitmproxy import options
from mitmproxy.addons.core import Core
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.master import Master
from mitmproxy.proxy import mode_specs

from simulator.errors import EnvironmentFault
from simulator.proxy.addon import FlyReplay
from simulator.proxy.core import ProxyCore
from simulator.proxy.dns_listener import DnsListener
from simulator.proxy.http.message_head import drop_debug_checks
from simulator.proxy.name_server import NameServer, find_region
from simulator.proxy.passthrough import Passthrough
from simulator.proxy.tls_authority import LazyTls, authority_folder
from simulator.proxy.transport.edge_handler import EdgeHandler
from simulator.proxy.transport.listener import Listener
from simulator.routing.regions import distance_km
from simulator.routing.service import HTTP_PORT

_CLOSE_TIMEOUT_SECONDS = 2.0
_DNS_PORT = 53
_LOOPBACK = "127.0.0.1"
_FLYCAST = ".flycast"
"""Replaces the region in the keys of listeners for the private network."""

ChooseEdge = Callable[[str], str]
"""Returns the region of the edge for a client's IP address."""


class ProxyServer:
    """All edges of a fleet and its name server, in the running event loop."""

    def __init__(
        self,
        core: ProxyCore,
        edges: Mapping[str, int],
        *,
        host: str | Sequence[str] = _LOOPBACK,
        dns_port: int | None = None,
        extra_ports: Mapping[tuple[str, int], int] | None = None,
        private_ip: str | None = None,
    ) -> None:
        """`edges`: local port by region; it serves the public ports 80 and 443. Port 0 means any free port.

        `extra_ports`: local port by region and public port, for other public ports. `host`: one or more addresses to
        listen on. `dns_port`: the name server's port; None: no name server. `private_ip`: flysim's own address in the
        machines' network, if it is part of it. `.flycast` names resolve to it, so every public port is open there,
        and the name server forwards public names.
        """
        self._core = core
        self._edges = edges
        self._hosts = (host,) if isinstance(host, str) else tuple(host)
        self._dns_port = dns_port
        self._extra_ports = extra_ports or {}
        self._private_ip = private_ip
        self._listeners: dict[tuple[str, int], list[Listener]] = {}
        self._name_server: DnsListener | None = None
        self._clients: dict[asyncio.Future[None], EdgeHandler | None] = {}
        self._is_stopping = False

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Host and port of each edge's listener for plain HTTP and TLS, by region."""
        return {
            region: address for (region, port), address in self.all_addresses.items() if port == HTTP_PORT
        }

    @property
    def all_addresses(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Host and port of every listener of an edge, by region and public port."""
        return {key: listeners[0].address for key, listeners in self._listeners.items() if key[0] != _FLYCAST}

    async def go_away(self, machine_id: str) -> None:
        """Close the clients' WebSockets with this machine: code 1001, "going away" (F-5.36)."""
        for client_id in self._core.open_websockets.of(machine_id):
            handler = self._core.handlers.get(client_id)
            if handler is not None:
                await handler.go_away()

    @property
    def dns_address(self) -> tuple[str, int] | None:
        return self._name_server.address if self._name_server else None

    async def start(self) -> None:
        """Open all listeners. Raises EnvironmentFault if a port is in use; no listener stays open then."""
        self._master = self._make_master()
        self._is_stopping = False
        try:
            if self._dns_port is not None:
                await self._start_name_server(self._dns_port)
            for region, port in self._edges.items():
                await self._start_edge(region, HTTP_PORT, port)
            for (region, public_port), port in self._extra_ports.items():
                await self._start_edge(region, public_port, port)
            if self._private_ip is not None:
                await self._start_flycast()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close every listener and every client connection."""
        self._is_stopping = True
        self._core.network.clear()  # releases data that a fault holds, so that its connections can close
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.close()
        self._listeners.clear()
        clients = dict(self._clients)
        for task, handler in clients.items():
            if handler is None:
                task.cancel()
            else:
                handler.give_up()
        if clients:
            _, still_open = await asyncio.wait(clients, timeout=_CLOSE_TIMEOUT_SECONDS)
            for task in still_open:
                task.cancel()
        if self._name_server is not None:
            await self._name_server.stop()

    def _make_master(self) -> Master:
        drop_debug_checks()
        master = Master(options.Options(), asyncio.get_running_loop())
        logging.getLogger().removeHandler(master._legacy_log_events)
        logging.getLogger("mitmproxy").setLevel(logging.ERROR)
        master.addons.add(Core(), Proxyserver(), NextLayer(), LazyTls(), FlyReplay(self._core))
        master.options.update(
            confdir=str(authority_folder()),
            connection_strategy="lazy",
            keep_host_header=True,
            upstream_cert=False,
        )
        return master

    def _make_name_server(self) -> NameServer:
        first_edge = next(iter(self._edges), "")
        if self._private_ip is None:
            return NameServer(lambda: self._core.router.fleet, first_edge)
        upstream = find_system_name_server()
        return NameServer(lambda: self._core.router.fleet, first_edge, self._private_ip, upstream)

    async def _start_edge(self, region: str, public_port: int, port: int) -> None:
        await self._listen((region, public_port), lambda client_ip: region, port)

    async def _start_flycast(self) -> None:
        """Listen on the public ports for `.flycast` names (F-8.20), without TLS (F-8.21)."""
        ports_in_use = {port for _, port in self.all_addresses.values()}
        for public_port in dict.fromkeys([HTTP_PORT, *(public for _, public in self._extra_ports)]):
            if public_port not in ports_in_use:
                await self._listen((_FLYCAST, public_port), self._nearest_edge, public_port)

    def _nearest_edge(self, client_ip: str) -> str:
        """The edge nearest to the calling machine; Fly does not document which edge serves `.flycast` clients."""
        region = find_region(self._core.router.fleet, client_ip)
        return min(self._edges, key=lambda edge: distance_km(region, edge) if region else 0)

    async def _listen(self, key: tuple[str, int], choose_edge: ChooseEdge, port: int) -> None:
        accept = self._acceptor(choose_edge, key[1])
        listeners = self._listeners.setdefault(key, [])
        for host in self._hosts:
            try:
                listener = Listener(host, port, accept, lambda error: self._core.log_paused(key[0], error))
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise EnvironmentFault(f"edge {key[0]} cannot listen on {host}:{port}: {reason}") from error
            listeners.append(listener)
            port = listener.address[1]

    def _acceptor(
        self, choose_edge: ChooseEdge, public_port: int
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        modes = {
            region: mode_specs.ProxyMode.parse(f"reverse:http://{region}:{public_port}")
            for region in self._edges
        }
        passthroughs = {region: Passthrough(self._core, region, public_port) for region in self._edges}

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = writer.get_extra_info("peername")  # None: it has disconnected
            if self._is_stopping or client is None:
                writer.close()
                return
            region = choose_edge(client[0])
            handler: EdgeHandler | None = None
            if passthroughs[region].applies:
                task = asyncio.ensure_future(passthroughs[region].serve(reader, writer))
            else:
                handler = EdgeHandler(self._core, self._master, reader, writer, modes[region])
                task = asyncio.ensure_future(handler.handle_client())
            self._clients[task] = handler
            task.add_done_callback(self._clients.pop)

        return accept

    async def _start_name_server(self, port: int) -> None:
        self._name_server = DnsListener(self._make_name_server())
        try:
            await self._name_server.start(self._hosts, port)
        except OSError as error:
            hint = {
                errno.EADDRINUSE: "stop the process that uses it, or choose another port with --dns-port",
                errno.EADDRNOTAVAIL: "use an address of this computer for --listen",
            }.get(error.errno or 0, "choose another port with --dns-port")
            raise EnvironmentFault(
                f"the name server cannot listen on {', '.join(self._hosts)}:{port}: {error.strerror}",
                hint=hint,
            ) from error


def find_system_name_server() -> tuple[str, int] | None:
    """The first name server that the operating system is configured to use."""
    import dns.resolver  # only flysim in a container needs it

    with suppress(dns.resolver.NoResolverConfiguration):
        return str(dns.resolver.Resolver().nameservers[0]), _DNS_PORT
    return None
