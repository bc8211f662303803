"""The proxy as a server: one listener per edge and a name server, on a lean mitmproxy master.

Stock mitmproxy runs about forty addons on every hook and starts a task for each; our master has only those that
the layers need, and our handler tells no hook to addons that have no ear for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

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
from simulator.proxy.handler import EdgeHandler
from simulator.proxy.lean import drop_debug_checks
from simulator.proxy.names import NameLayer, NameServer
from simulator.proxy.passthrough import Passthrough
from simulator.proxy.trust import LazyTls, authority_folder
from simulator.routing.service import HTTP_PORT

_BACKLOG = 1024
_HANG_UP_SECONDS = 2.0


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
        host: str = "127.0.0.1",
        dns_port: int | None = None,
        extra_ports: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        """`edges`: region -> port, 0 for a free one; it stands for the public ports 80 and 443.

        `extra_ports`: (region, another public port) -> port. `dns_port`: None for no name server, 0 for a free port.
        """
        self._core = core
        self._edges = edges
        self._host = host
        self._dns_port = dns_port
        self._extra_ports = extra_ports or {}
        self._listeners: dict[tuple[str, int], asyncio.Server] = {}
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
        return {key: listener.sockets[0].getsockname()[:2] for key, listener in self._listeners.items()}

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
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close every listener and every client connection."""
        self._is_stopping = True
        self._core.links.clear()  # What a fault held back is let go, so that its connections end.
        for listener in self._listeners.values():
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
        names = NameServer(lambda: self._core.router.fleet, next(iter(self._edges), ""))
        master.addons.add(Core(), Proxyserver(), NextLayer(), LazyTls(), FlyReplay(self._core, names.resolve))
        master.options.update(
            confdir=str(authority_folder()),
            connection_strategy="lazy",
            keep_host_header=True,
            upstream_cert=False,
        )
        return master

    async def _start_edge(self, region: str, public_port: int, port: int) -> None:
        mode = mode_specs.ProxyMode.parse(f"reverse:http://{region}:{public_port}")
        passthrough = Passthrough(self._core, region, public_port)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._is_stopping:  # accepted just before the listener closed
                writer.close()
                return
            handler: EdgeHandler | None = None
            if passthrough.applies:
                task = asyncio.ensure_future(passthrough.serve(reader, writer))
            else:
                handler = EdgeHandler(self._core, self._master, reader, writer, mode)
                task = asyncio.ensure_future(handler.handle_client())
            self._clients[task] = handler
            task.add_done_callback(self._clients.pop)

        try:
            listener = await asyncio.start_server(accept, self._host, port, backlog=_BACKLOG)
        except OSError as error:
            raise EnvironmentFault(
                f"edge {region} cannot listen on {self._host}:{port}: {error.strerror}"
            ) from error
        self._listeners[region, public_port] = listener

    async def _start_names(self, port: int) -> None:
        server = self._master.addons.get("proxyserver")
        self._names = ServerInstance.make(f"dns@{self._host}:{port}", server)
        self._names.make_top_layer = NameLayer  # type: ignore[method-assign]
        try:
            await self._names.start()
        except OSError as error:
            raise EnvironmentFault(
                f"the name server cannot listen on {self._host}:{port}: {error.strerror}"
            ) from error
