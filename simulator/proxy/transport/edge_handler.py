"""Connection handler of one client connection at an edge, with its connections to machines.

It differs from mitmproxy's handler: hooks that no addon implements are skipped, idle connections are not closed after
ten minutes, and the number of connections to one address is not limited to five.
"""

from __future__ import annotations

import asyncio
import collections

from mitmproxy.addons.core import Core
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Connection
from mitmproxy.master import Master
from mitmproxy.proxy import commands, layers, mode_specs
from mitmproxy.proxy.server import TimeoutWatchdog
from mitmproxy.proxy.server_hooks import ServerConnectedHook

from simulator.proxy.core import ProxyCore
from simulator.proxy.http import convert
from simulator.proxy.http.edge_layer import OpenMachineConnection
from simulator.proxy.http.websocket_tunnel import GoAway
from simulator.proxy.transport.bug_handling import bugs_reported
from simulator.proxy.transport.flow_control import FlowControlledHandler
from simulator.proxy.transport.reset_handling import deliver_data_before_reset, was_reset_after_close
from simulator.proxy.transport.simulated_link import SimulatedLink, simulate_connect
from simulator.routing import Machine

_NO_TIMEOUT_SECONDS = 10 * 365 * 24 * 3600
"""K-35: no idle timeout by default."""
_MAX_CONNECTIONS = 1024


class EdgeHandler(FlowControlledHandler):
    """One client connection at an edge."""

    def __init__(
        self,
        core: ProxyCore,
        master: Master,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        mode: mode_specs.ProxyMode,
    ) -> None:
        super().__init__(master, reader, writer, master.options, mode)
        self.limit_reads(reader, writer)
        self.layer = layers.modes.ReverseProxy(self.layer.context)
        # mitmproxy allows five connections to one address; five event streams would block all further requests.
        self.max_conns = collections.defaultdict(lambda: asyncio.Semaphore(_MAX_CONNECTIONS))
        self.timeout_watchdog.timeout = _NO_TIMEOUT_SECONDS
        self._connecting: dict[Connection, asyncio.TimerHandle] = {}
        self._machines: dict[Connection, Machine] = {}
        self._links: dict[Connection, SimulatedLink] = {}
        self._core = core
        self._edge_region = convert.edge_of(self.client)
        self._idle_task: asyncio.Task[None] | None = None

    @bugs_reported
    async def open_connection(self, command: commands.OpenConnection) -> None:
        task = asyncio.current_task()
        assert isinstance(command, OpenMachineConnection)
        assert task is not None
        if self._core.network and not await self._simulate_connect(command):
            return
        loop = asyncio.get_running_loop()
        self._machines[command.connection] = command.machine
        self._connecting[command.connection] = loop.call_later(command.timeout_seconds, task.cancel)
        try:
            await super().open_connection(command)
        finally:
            self._stop_timer(command.connection)
            self._remove_unopened(command.connection)
            self._links.pop(command.connection, None)
            del self._machines[command.connection]

    async def handle_hook(self, hook: commands.StartHook) -> None:
        if isinstance(hook, ServerConnectedHook):
            self._stop_timer(hook.data.server)
            self._attach_link(hook.data.server)
        elif _is_implemented(self.master, hook.name):
            await super().handle_hook(hook)

    async def _simulate_connect(self, command: OpenMachineConnection) -> bool:
        """Wait for the simulated network. Returns False if it timed out; mitmproxy then reports it to the layers."""
        error: str | None = convert.CONNECT_TIMED_OUT
        try:
            if await simulate_connect(
                self._core, self._edge_region, command.machine, command.timeout_seconds
            ):
                error = None
        finally:  # the exchange needs a result even if the client has disconnected in the meantime
            command.connection.error = error
            if error is not None:
                await super().open_connection(command)
                self._remove_unopened(command.connection)
        return error is None

    def _attach_link(self, connection: Connection) -> None:
        """Put reset handling and a simulated link on a machine connection that has just been opened."""
        transport = self.transports[connection]
        reader, writer = transport.reader, transport.writer
        assert isinstance(reader, asyncio.StreamReader)
        assert isinstance(writer, asyncio.StreamWriter)
        self.limit_reads(reader, writer)
        deliver_data_before_reset(transport, connection)
        machine = self._machines[connection]
        self._links[connection] = SimulatedLink(self._core, self._edge_region, machine, reader, writer)

    async def _drain(self, connection: Connection) -> None:
        await super()._drain(connection)
        if self._core.network and connection in self._links:
            await self._links[connection].outward.drained()

    def was_never_read(self, connection: Connection) -> bool:
        """Whether a machine connection that ended without a response was reset with the request unread.

        Docker itself accepts connections to a published port. If nothing listens in the container, it closes them
        without reading the request, which resets them. A machine that crashes on a request has read it.
        """
        return connection.error == convert.RESET or was_reset_after_close(self.transports.get(connection))

    def set_idle_timeout(self, seconds: float) -> None:
        """Close the connection after `seconds` without traffic (F-9.7)."""
        if self.timeout_watchdog.timeout == seconds:
            return
        self.timeout_watchdog = TimeoutWatchdog(seconds, self.on_timeout)  # type: ignore[arg-type] # whole seconds
        if self._idle_task is not None:
            self._idle_task.cancel()
        self._idle_task = asyncio.create_task(self.timeout_watchdog.watch(), name="idle timeout")

    async def go_away(self) -> None:
        """Send the client a close frame: the machine of its WebSocket is about to be stopped."""
        await self.server_event(GoAway())

    async def handle_client(self) -> None:
        self._core.handlers[self.client.id] = self
        try:
            await super().handle_client()
        finally:
            del self._core.handlers[self.client.id]
            if self._idle_task is not None:
                self._idle_task.cancel()

    def _remove_unopened(self, connection: Connection) -> None:
        """Remove a failed connection: mitmproxy would keep it until the client disconnects."""
        if connection in self.transports and self.transports[connection].writer is None:
            del self.transports[connection]

    def _stop_timer(self, connection: Connection) -> None:
        timer = self._connecting.pop(connection, None)
        if timer is not None:
            timer.cancel()


def _is_implemented(master: Master, hook: str) -> bool:
    """Whether an addon needs this hook. Proxyserver's hooks only prevent a proxy from connecting to itself."""
    return any(
        hasattr(addon, hook) for addon in master.addons.chain if not isinstance(addon, Proxyserver | Core)
    )
