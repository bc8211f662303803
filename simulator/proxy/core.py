"""Shared state of the proxy's connections: router, clock, event bus, network conditions and request ids."""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

from simulator.clock import Clock
from simulator.crash_report import BugLog
from simulator.events import Bus, ProxyLogged
from simulator.file_limit import describe_shortage
from simulator.network_conditions import Condition, NetworkConditions
from simulator.routing.decision import Reject
from simulator.routing.errors import BUG, ProxyError
from simulator.routing.model import Machine
from simulator.routing.router import Router
from simulator.routing.trace import FAULT

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32, the encoding of ULIDs
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]


class OpenWebSockets:
    """The client connections that have a WebSocket open, by machine."""

    def __init__(self) -> None:
        self._clients: dict[str, set[str]] = {}

    def add(self, machine_id: str, client_id: str) -> None:
        self._clients.setdefault(machine_id, set()).add(client_id)

    def discard(self, machine_id: str, client_id: str) -> None:
        self._clients.get(machine_id, set()).discard(client_id)

    def of(self, machine_id: str) -> frozenset[str]:
        return frozenset(self._clients.get(machine_id, ()))


class ClientHandler(Protocol):
    """The handler of one client connection, as the proxy's core uses it."""

    def set_idle_timeout(self, seconds: float) -> None: ...

    def was_never_read(self, connection: Any) -> bool: ...

    async def go_away(self) -> None: ...

    def give_up(self) -> None: ...


class ProxyCore:
    """The state of one running proxy, shared by all its edges."""

    def __init__(
        self, router: Router, clock: Clock, bus: Bus, random: Random, network: NetworkConditions | None = None
    ) -> None:
        self.router = router
        self.clock = clock
        self.bus = bus
        self.network = network if network is not None else NetworkConditions()
        self._random = random
        self.bugs = BugLog(self._announce_bug)
        self.open_websockets = OpenWebSockets()
        self.handlers: dict[str, ClientHandler] = {}
        """Handlers by client connection id; empty inside stock mitmproxy."""

    def set_idle_timeout(self, client_id: str, seconds: float | None) -> None:
        """Close the client's connection after `seconds` without traffic; 0 and None: no limit (F-9.7, K-35)."""
        handler = self.handlers.get(client_id)
        if seconds and handler is not None:
            handler.set_idle_timeout(seconds)

    def was_never_read(self, client_id: str, connection: Any) -> bool:
        """Whether a machine connection that ended without a response was reset with the request unread."""
        handler = self.handlers.get(client_id)
        return handler is not None and handler.was_never_read(connection)

    def may_be_unread(self, client_id: str, connection: Any) -> bool:
        """Whether the machine of this connection may have closed it before the request arrived.

        Then its kernel resets the connection. A machine that read the request and exited closes it without a reset.
        """
        handler = self.handlers.get(client_id)
        return handler is None or handler.was_never_read(connection)

    def new_request_id(self, edge: str, now: float) -> str:
        """A `Fly-Request-Id`: a ULID and the region of the edge (F-4.11)."""
        bits = (int(now * 1000) << 80) | self._random.getrandbits(80)
        return "".join([_PAIRS[(bits >> shift) & 1023] for shift in range(120, -1, -10)]) + "-" + edge

    def report_bug(self, bug: Exception) -> ProxyError:
        """Report a bug in flysim. Returns the error of the exchanges that it ends."""
        return ProxyError(BUG, self.bugs.report(bug))

    def _announce_bug(self, line: str) -> None:
        self.bus.publish(ProxyLogged(self.clock.now(), "", None, "", "error", line, BUG))

    def give_up(self, client_id: str) -> None:
        """Close a client's connection after a bug."""
        handler = self.handlers.get(client_id)
        if handler is not None:
            handler.give_up()

    def log(self, error: ProxyError, host: str, edge: str) -> None:
        """Log an error of a connection to `host` that has no request yet, in the log of the host's app."""
        app = self.router.fleet.app_for_host(host)
        name = app.name if app else ""
        self.bus.publish(ProxyLogged(self.clock.now(), name, None, edge, "error", str(error), error.code))

    def log_invalid_request(self, reason: str, edge: str, now: float) -> None:
        """Log a request that the proxy refused before it was routed."""
        self.bus.publish(ProxyLogged(now, "", None, edge, "error", f"invalid request: {reason}"))

    def log_paused(self, edge: str, error: OSError) -> None:
        """Log that an edge accepts no connections for lack of file descriptors."""
        self.log_shortage("no new connections are accepted", edge, error)

    def log_shortage(self, consequence: str, edge: str, error: OSError) -> None:
        """Log that flysim itself has no free file descriptors."""
        message = f"{consequence}: {describe_shortage(error)}"
        self.bus.publish(ProxyLogged(self.clock.now(), "", None, edge, "error", message))

    def log_fault(self, cause: Condition, machine: Machine) -> None:
        """Log that a fault affected a delivery, in the log of the machine's app."""
        now, message = self.clock.now(), f"{FAULT} triggered: {cause.description}"
        self.bus.publish(ProxyLogged(now, machine.app, machine.id, machine.region, "warn", message))

    def log_rejection(self, reject: Reject, now: float) -> None:
        """Log a rejection, in the log of the app that caused it (F-6.1, F-6.2)."""
        self.bus.publish(
            ProxyLogged(
                at=now,
                app=reject.log_app,
                machine_id=reject.log_machine_id,
                region=reject.log_region,
                level="error",
                message=str(reject.error),
                code=reject.error.code,
            )
        )
