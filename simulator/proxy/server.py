"""The proxy as a server: one listener per edge and a name server, on a lean mitmproxy master.

Stock mitmproxy runs about forty addons on every hook and starts a task for each; our master has only those that
the layers need, and our handler tells no hook to addons that have no ear for it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence

import mitmproxy_rs
from mitmproxy import options
from mitmproxy.addons.core import Core
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.master import Master
from mitmproxy.proxy import mode_specs
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler, ServerInstance

from simulator.errors import EnvironmentFault
from simulator.proxy.addon import FlyReplay
from simulator.proxy.core import ProxyCore
from simulator.proxy.http.fast_path import drop_debug_checks
from simulator.proxy.name_server import NameLayer, NameServer, region_at
from simulator.proxy.passthrough import Passthrough
from simulator.proxy.tls_authority import LazyTls, authority_folder
from simulator.proxy.transport.edge_handler import EdgeHandler
from simulator.routing.regions import distance_km
from simulator.routing.service import HTTP_PORT

_BACKLOG = 1024
_HANG_UP_SECONDS = 2.0
_DNS_PORT = 53
_LOOPBACK = "127.0.0.1"
_FLYCAST = ".flycast"
"""In the place of a region: the way in from the private network."""

ChooseEdge = Callable[[str], str]
"""From a client's address to the region of its edge."""


def _hang_up(connection: ProxyConnectionHandler) -> asyncio.Task[None] | None:
    """End a client's connection, and with it those to machines. Returns the task that ends."""
    transport = connection.transports.get(connection.client)
    if transport is None or transport.handler is None:
        return None
    transport.handler.cancel()
    return transport.handler


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
        """`edges`: region -> port, 0 for a free one; it stands for the public ports 80 and 443.

        `extra_ports`: (region, another public port) -> port. `dns_port`: the name server's; None: there is none.
        `host`: one address or several. `private_ip`: our own in the machines' network, if we are in it; it is where
        `.flycast` names lead, so every public port is open there, and public names are resolved.
        """
        self._core = core
        self._edges = edges
        self._hosts = (host,) if isinstance(host, str) else tuple(host)
        self._dns_port = dns_port
        self._extra_ports = extra_ports or {}
        self._private_ip = private_ip
        self._listeners: dict[tuple[str, int], list[asyncio.Server]] = {}
        self._names: ServerInstance[mode_specs.DnsMode] | None = None
        self._clients: dict[asyncio.Future[None], EdgeHandler | None] = {}
        self._is_stopping = False

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Where each edge listens for plain HTTP and TLS, by its region."""
        return {region: where for (region, port), where in self.all_addresses.items() if port == HTTP_PORT}

    @property
    def all_addresses(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Where each edge listens, by its region and the public port that the listener stands for."""
        return {
            key: listeners[0].sockets[0].getsockname()[:2]
            for key, listeners in self._listeners.items()
            if key[0] != _FLYCAST
        }

    async def go_away(self, machine_id: str) -> None:
        """Close the WebSockets with this machine towards their clients, in good order (F-5.36)."""
        for client_id in self._core.open_sockets.of(machine_id):
            handler = self._core.handlers.get(client_id)
            if handler is not None:
                await handler.go_away()

    @property
    def dns_address(self) -> tuple[str, int] | None:
        return self._names.listen_addrs[0][:2] if self._names and self._names.listen_addrs else None

    async def start(self) -> None:
        """Listen everywhere. Raises EnvironmentFault for a port that is taken, with nothing left listening."""
        self._master = self._make_master()
        self._is_stopping = False
        try:
            if self._dns_port is not None:
                await self._start_names(self._dns_port)
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
        self._core.network.clear()  # What a fault held back is let go, so that its connections end.
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.close()
        self._listeners.clear()
        clients = dict(self._clients)
        for task, handler in clients.items():
            if handler is None:
                task.cancel()
            else:
                _hang_up(handler)
        if clients:
            _, stuck = await asyncio.wait(clients, timeout=_HANG_UP_SECONDS)
            for task in stuck:
                task.cancel()
        if self._names is not None and self._names.is_running:
            await self._stop_names(self._names)

    async def _stop_names(self, names: ServerInstance[mode_specs.DnsMode]) -> None:
        await names.stop()
        askers = self._master.addons.get("proxyserver").connections
        ending = [task for asker in tuple(askers.values()) if (task := _hang_up(asker))]
        if ending:
            await asyncio.wait(ending, timeout=_HANG_UP_SECONDS)

    def _make_master(self) -> Master:
        drop_debug_checks()
        master = Master(options.Options(), asyncio.get_running_loop())
        logging.getLogger().removeHandler(master._legacy_log_events)
        logging.getLogger("mitmproxy").setLevel(logging.ERROR)
        addon = FlyReplay(self._core, self._make_names().answer)
        master.addons.add(Core(), Proxyserver(), NextLayer(), LazyTls(), addon)
        master.options.update(
            confdir=str(authority_folder()),
            connection_strategy="lazy",
            keep_host_header=True,
            upstream_cert=False,
        )
        return master

    def _make_names(self) -> NameServer:
        first = next(iter(self._edges), "")
        if self._private_ip is None:
            return NameServer(lambda: self._core.router.fleet, first)
        servers = mitmproxy_rs.dns.get_system_dns_servers()
        upstream = (servers[0], _DNS_PORT) if servers else None
        return NameServer(lambda: self._core.router.fleet, first, self._private_ip, upstream)

    async def _start_edge(self, region: str, public_port: int, port: int) -> None:
        await self._listen((region, public_port), lambda client_ip: region, port)

    async def _start_flycast(self) -> None:
        """F-8.20: by `.flycast` names the same public ports are open, without TLS (F-8.21)."""
        taken = {port for _, port in self.all_addresses.values()}
        for public_port in dict.fromkeys([HTTP_PORT, *(public for _, public in self._extra_ports)]):
            if public_port not in taken:
                await self._listen((_FLYCAST, public_port), self._nearest_edge, public_port)

    def _nearest_edge(self, client_ip: str) -> str:
        """To the machine that calls; Fly does not say which edge serves a caller in the private network."""
        region = region_at(self._core.router.fleet, client_ip)
        return min(self._edges, key=lambda edge: distance_km(region, edge) if region else 0)

    async def _listen(self, key: tuple[str, int], choose_edge: ChooseEdge, port: int) -> None:
        accept = self._acceptor(choose_edge, key[1])
        listeners = self._listeners.setdefault(key, [])
        for host in self._hosts:
            try:
                listener = await asyncio.start_server(accept, host, port, backlog=_BACKLOG)
            except OSError as error:
                raise EnvironmentFault(
                    f"edge {key[0]} cannot listen on {host}:{port}: {error.strerror}"
                ) from error
            listeners.append(listener)
            port = listener.sockets[0].getsockname()[1]

    def _acceptor(
        self, choose_edge: ChooseEdge, public_port: int
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        modes = {
            region: mode_specs.ProxyMode.parse(f"reverse:http://{region}:{public_port}")
            for region in self._edges
        }
        passthroughs = {region: Passthrough(self._core, region, public_port) for region in self._edges}

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._is_stopping:  # accepted just before the listener closed
                writer.close()
                return
            region = choose_edge((writer.get_extra_info("peername") or ("",))[0])
            handler: EdgeHandler | None = None
            if passthroughs[region].applies:
                task = asyncio.ensure_future(passthroughs[region].serve(reader, writer))
            else:
                handler = EdgeHandler(self._core, self._master, reader, writer, modes[region])
                task = asyncio.ensure_future(handler.handle_client())
            self._clients[task] = handler
            task.add_done_callback(self._clients.pop)

        return accept

    async def _start_names(self, port: int) -> None:
        server = self._master.addons.get("proxyserver")
        host = self._hosts[0] if len(self._hosts) == 1 else ""  # mitmproxy's word for all
        self._names = ServerInstance.make(f"dns@{host}:{port}" if host else f"dns@{port}", server)
        self._names.make_top_layer = NameLayer  # type: ignore[method-assign]
        try:
            _require_udp(host or "0.0.0.0", port)
            await self._names.start()
        except (OSError, RuntimeError) as error:  # The latter is what its UDP half raises, with a stack.
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number else str(error).partition("\n")[0]
            stop = "stop what listens there, or " if number == errno.EADDRINUSE else ""
            raise EnvironmentFault(
                f"the name server cannot listen on {host or '*'}:{port}: {reason}",
                hint=f"{stop}take another port with --dns-port",
            ) from error


def _require_udp(host: str, port: int) -> None:
    """Raises OSError if it is taken: mitmproxy would find out too late, and go on listening for TCP."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, port))
