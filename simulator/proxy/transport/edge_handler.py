"""One client connection at an edge: mitmproxy's handler, told no hook that nobody has an ear for.

Stock mitmproxy closes a silent connection after ten minutes and opens at most five to one address; neither is so here.
"""

from __future__ import annotations

import asyncio
import collections
from weakref import WeakSet

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
from simulator.proxy.transport.flow_control import FlowControlledHandler
from simulator.proxy.transport.reset_handling import deliver_data_before_reset, was_reset_since
from simulator.proxy.transport.simulated_link import SimulatedLink, cross
from simulator.routing import Machine

_NEVER_SECONDS = 10 * 365 * 24 * 3600
"""K-35: no idle timeout of our own."""
_MANY = 1024


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
        self.layer = layers.modes.ReverseProxy(self.layer.context)
        # mitmproxy opens at most five connections to one address at a time; five event streams would fill them.
        self.max_conns = collections.defaultdict(lambda: asyncio.Semaphore(_MANY))
        self.timeout_watchdog.timeout = _NEVER_SECONDS
        self._connecting: dict[Connection, asyncio.TimerHandle] = {}
        self._bound_for: dict[Connection, Machine] = {}
        self._spans: dict[Connection, SimulatedLink] = {}
        self._core = core
        self._edge_region = convert.edge_of(self.client)
        self._idle_watch: asyncio.Task[None] | None = None
        self._were_reset: WeakSet[Connection] = WeakSet()

    async def open_connection(self, command: commands.OpenConnection) -> None:
        task = asyncio.current_task()
        assert isinstance(command, OpenMachineConnection)
        assert task is not None
        if self._core.network and not await self._cross(command):
            return
        loop = asyncio.get_running_loop()
        self._bound_for[command.connection] = command.machine
        self._connecting[command.connection] = loop.call_later(command.timeout_seconds, task.cancel)
        try:
            await super().open_connection(command)
        finally:
            self._stop_timer(command.connection)
            self._forget_unopened(command.connection)
            self._spans.pop(command.connection, None)
            del self._bound_for[command.connection]

    async def handle_hook(self, hook: commands.StartHook) -> None:
        if isinstance(hook, ServerConnectedHook):
            self._stop_timer(hook.data.server)
            self._watch(hook.data.server)
        elif _has_listener(self.master, hook.name):
            await super().handle_hook(hook)

    async def _cross(self, command: OpenMachineConnection) -> bool:
        """Whether the network lets a connection come about; if not, mitmproxy tells the layers."""
        error: str | None = convert.TIMED_OUT
        try:
            if await cross(self._core, self._edge_region, command.machine, command.timeout_seconds):
                error = None
        finally:  # The client may have left meanwhile: its exchange waits for an end all the same.
            command.connection.error = error
            if error is not None:
                await super().open_connection(command)
                self._forget_unopened(command.connection)
        return error is None

    def _watch(self, connection: Connection) -> None:
        """A connection to a machine is open."""
        transport = self.transports[connection]
        reader, writer = transport.reader, transport.writer
        assert isinstance(reader, asyncio.StreamReader)
        assert isinstance(writer, asyncio.StreamWriter)
        deliver_data_before_reset(transport, lambda: self._were_reset.add(connection))
        machine = self._bound_for[connection]
        self._spans[connection] = SimulatedLink(self._core, self._edge_region, machine, reader, writer)

    async def _drain(self, connection: Connection) -> None:
        await super()._drain(connection)
        if self._core.network and connection in self._spans:
            await self._spans[connection].outward.drained()

    def was_never_read(self, connection: Connection) -> bool:
        """Of one that ended without an answer: whether what was sent on it was refused unread.

        Docker accepts connections to a published port itself. When nothing listens in the container it closes them
        with the request unread, which resets them; a machine that dies of its request has read it.
        """
        return connection in self._were_reset or was_reset_since(self.transports.get(connection))

    def limit_idle(self, seconds: float) -> None:
        """Close the connection after so long without traffic (F-9.7)."""
        if self.timeout_watchdog.timeout == seconds:
            return
        self.timeout_watchdog = TimeoutWatchdog(seconds, self.on_timeout)  # type: ignore[arg-type] # whole seconds
        if self._idle_watch is not None:
            self._idle_watch.cancel()
        self._idle_watch = asyncio.create_task(self.timeout_watchdog.watch(), name="idle timeout")

    async def go_away(self) -> None:
        """The machine of the client's WebSocket is about to be stopped."""
        await self.server_event(GoAway())

    async def handle_client(self) -> None:
        self._core.handlers[self.client.id] = self
        try:
            await super().handle_client()
        finally:
            del self._core.handlers[self.client.id]
            if self._idle_watch is not None:
                self._idle_watch.cancel()

    def _forget_unopened(self, connection: Connection) -> None:
        """mitmproxy remembers a connection that did not come about as long as the client stays."""
        if connection in self.transports and self.transports[connection].writer is None:
            del self.transports[connection]

    def _stop_timer(self, connection: Connection) -> None:
        timer = self._connecting.pop(connection, None)
        if timer is not None:
            timer.cancel()


def _has_listener(master: Master, hook: str) -> bool:
    """Whether an addon must hear of it; Proxyserver only guards against a proxy that connects to itself."""
    return any(
        hasattr(addon, hook) for addon in master.addons.chain if not isinstance(addon, Proxyserver | Core)
    )
