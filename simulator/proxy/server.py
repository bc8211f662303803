"""The proxy as a server: one listener per edge and a name server, on a lean mitmproxy master.

Stock mitmproxy runs about forty addons on every hook and starts a task for each; our master has only those that
the layers need, and our handler tells no hook to addons that have no ear for it.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Mapping

from mitmproxy import options
from mitmproxy.addons.core import Core
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Connection
from mitmproxy.master import Master
from mitmproxy.proxy import commands, layers, mode_specs
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler, ServerInstance
from mitmproxy.proxy.server_hooks import ServerConnectedHook

from simulator.errors import EnvironmentFault
from simulator.proxy.addon import FlyReplay
from simulator.proxy.core import ProxyCore
from simulator.proxy.layer import OpenMachineConnection
from simulator.proxy.names import NameLayer, NameServer
from simulator.proxy.pace import PacedHandler
from simulator.proxy.salvage import salvage_at_reset
from simulator.proxy.trust import LazyTls, authority_folder

_NEVER_SECONDS = 10 * 365 * 24 * 3600
"""K-35: no idle timeout of our own. mitmproxy would close a silent connection after ten minutes."""
_BACKLOG = 1024
_HANG_UP_SECONDS = 2.0


class EdgeHandler(PacedHandler):
    """One client connection at an edge."""

    def __init__(
        self,
        master: Master,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        mode: mode_specs.ProxyMode,
    ) -> None:
        super().__init__(master, reader, writer, master.options, mode)
        self.layer = layers.modes.ReverseProxy(self.layer.context)
        # mitmproxy opens at most five connections to one address at a time; five event streams would fill them.
        self.max_conns = collections.defaultdict(lambda: asyncio.Semaphore(_BACKLOG))
        self.timeout_watchdog.timeout = _NEVER_SECONDS
        self._connecting: dict[Connection, asyncio.TimerHandle] = {}

    async def open_connection(self, command: commands.OpenConnection) -> None:
        task = asyncio.current_task()
        assert isinstance(command, OpenMachineConnection)
        assert task is not None
        loop = asyncio.get_running_loop()
        self._connecting[command.connection] = loop.call_later(command.timeout_seconds, task.cancel)
        try:
            await super().open_connection(command)
        finally:
            self._stop_timer(command.connection)
            self._forget_unopened(command.connection)

    async def handle_hook(self, hook: commands.StartHook) -> None:
        if isinstance(hook, ServerConnectedHook):
            self._stop_timer(hook.data.server)
            salvage_at_reset(self.transports[hook.data.server])
        elif _has_listener(self.master, hook.name):
            await super().handle_hook(hook)

    def _forget_unopened(self, connection: Connection) -> None:
        """mitmproxy remembers a connection that did not come about as long as the client stays."""
        if connection in self.transports and self.transports[connection].writer is None:
            del self.transports[connection]

    def _stop_timer(self, connection: Connection) -> None:
        timer = self._connecting.pop(connection, None)
        if timer is not None:
            timer.cancel()


def _hang_up(connection: ProxyConnectionHandler) -> asyncio.Task[None] | None:
    """End a client's connection, and with it those to machines. Returns the task that ends."""
    transport = connection.transports.get(connection.client)
    if transport is None or transport.handler is None:
        return None
    transport.handler.cancel()
    return transport.handler


def _has_listener(master: Master, hook: str) -> bool:
    """Whether an addon must hear of it; Proxyserver only guards against a proxy that connects to itself."""
    return any(
        hasattr(addon, hook) for addon in master.addons.chain if not isinstance(addon, Proxyserver | Core)
    )


class ProxyServer:
    """All edges of a fleet and its name server, in the running event loop."""

    def __init__(
        self,
        core: ProxyCore,
        edges: Mapping[str, int],
        *,
        host: str = "127.0.0.1",
        dns_port: int | None = None,
    ) -> None:
        """`edges`: region -> port, 0 for a free one. `dns_port`: None for no name server, 0 for a free port."""
        self._core = core
        self._edges = edges
        self._host = host
        self._dns_port = dns_port
        self._listeners: dict[str, asyncio.Server] = {}
        self._names: ServerInstance[mode_specs.DnsMode] | None = None
        self._clients: dict[asyncio.Future[None], EdgeHandler] = {}
        self._is_stopping = False

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Where each edge listens, by its region."""
        return {region: listener.sockets[0].getsockname()[:2] for region, listener in self._listeners.items()}

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
                await self._start_edge(region, port)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close every listener and every client connection."""
        self._is_stopping = True
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        clients = dict(self._clients)
        for handler in clients.values():
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

    async def _start_edge(self, region: str, port: int) -> None:
        mode = mode_specs.ProxyMode.parse(f"reverse:http://{region}:80")

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._is_stopping:  # accepted just before the listener closed
                writer.close()
                return
            handler = EdgeHandler(self._master, reader, writer, mode)
            task = asyncio.ensure_future(handler.handle_client())
            self._clients[task] = handler
            task.add_done_callback(self._clients.pop)

        try:
            self._listeners[region] = await asyncio.start_server(accept, self._host, port, backlog=_BACKLOG)
        except OSError as error:
            raise EnvironmentFault(
                f"edge {region} cannot listen on {self._host}:{port}: {error.strerror}"
            ) from error

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
