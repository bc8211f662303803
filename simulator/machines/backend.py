"""Protocol of a machine backend: processes, containers and a fake implement it.

A backend knows nothing about states, health or the fleet: it launches machines and reports their output and exits.
For every launch it calls `Observer.machine_exited` exactly once, after the last line of the machine's log and before
`stop`, `kill` or `close` return. Every backend passes the same suite, `tests/contract/test_backend.py`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from simulator.config.model import MachineSpec
from simulator.routing.model import Ports, forwarded_port, join_address

_SIGNAL_BASE = 128


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a machine listens, and its private address, which other machines use."""

    host: str
    port: int
    private_ip: str
    ports: Ports = ()
    """Forwarded ports, as pairs of the machine's own port and the port on `host`; empty if both are the same."""

    @property
    def address(self) -> str:
        return join_address(self.host, self.port)

    @property
    def is_forwarded(self) -> bool:
        """Whether a forwarder accepts the connections: it does so even if the machine does not listen."""
        return bool(self.ports)

    def port_for(self, internal_port: int) -> int:
        """The port on `host` that reaches this port of the machine."""
        return forwarded_port(self.ports, internal_port)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a machine's main process ended: its exit status, or the negative number of the signal that killed it."""

    status: int
    description: str = ""
    """Text to show instead, if the status is unknown."""

    @classmethod
    def of_status(cls, status: int) -> Exit:
        """From a status as shells, init processes and Docker report it: 128 plus the number of a signal."""
        number = status - _SIGNAL_BASE
        return cls(-number) if 0 < number < signal.NSIG else cls(status)

    def __str__(self) -> str:
        if self.description:
            return self.description
        if self.status >= 0:
            return f"exited with status {self.status}"
        return f"was killed by {_signal_name(-self.status)}"

    @property
    def reason(self) -> str:
        """The text without its auxiliary verb, for use after a colon: `ams-1 is stopped: killed by SIGKILL`."""
        return str(self).removeprefix("was ").removeprefix("is ")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # Real-time signals have no name.
        return f"signal {number}"


FindEdge = Callable[[int, str], tuple[str, int] | None]
"""Maps a public port and a machine's region to the address of the edge for that region (F-8.20)."""


class Observer(Protocol):
    """Receives the reports of a backend, always on the thread of the event loop."""

    def line_logged(self, machine_id: str, stream: str, line: str) -> None:
        """`stream` is "stdout" or "stderr"; `line` has no line end."""

    def machine_exited(self, machine_id: str, exited: Exit) -> None: ...

    # Changes that flysim did not make: by a user at a terminal, Docker Compose or an orchestrator.

    def machine_added(self, spec: MachineSpec) -> None:
        """A machine was added; it is not running until `machine_started` is called."""

    def machine_started(self, machine_id: str, placement: Placement) -> None:
        """A machine is running that flysim did not launch. Its exit is reported like that of a launched machine."""

    def machine_paused(self, machine_id: str) -> None: ...

    def machine_unpaused(self, machine_id: str) -> None: ...

    def machine_removed(self, machine_id: str) -> None:
        """The machine was removed and will not come back."""

    def problem_reported(self, description: str, machine_id: str | None = None) -> None:
        """An external change is invalid. It is logged, because there is no caller that could receive an error."""


class Backend(Protocol):
    """Runs machines. Every method except `launch` does nothing for a machine that is not running."""

    can_suspend: bool
    """Whether this backend can suspend a machine."""

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        """Start reporting external changes to `specs`, and machines that are added. Called before the first launch.

        Calls `machine_started` for each of `specs` that is already running before it returns.
        Raises EnvironmentFault if the engine that runs the machines does not respond.
        """
        ...

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        """Start a stopped machine. Returns once its program runs; it may not listen yet.

        Its placement is the same for every launch, until `release`.
        Raises InputError if the command cannot be run, EnvironmentFault if no address or resource is available.
        """
        ...

    async def stop(self, machine_id: str) -> None:
        """Send its `kill_signal`; after `kill_timeout_seconds` kill it and everything it started (F-5.37)."""

    async def kill(self, machine_id: str) -> None:
        """Kill it and everything it started at once."""

    async def suspend(self, machine_id: str) -> None:
        """Freeze it: it does not run or respond, and keeps its memory."""

    async def resume(self, machine_id: str) -> None: ...

    async def isolate(self, machine_id: str) -> bool:
        """Disconnect it from every network. Returns False if this backend cannot; the proxy then emulates it."""
        ...

    async def rejoin(self, machine_id: str) -> None:
        """Undo `isolate`: reconnect the machine to its networks."""

    async def release(self, machine_id: str) -> None:
        """Forget a stopped machine and free its address."""

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...] | None:
        """The addresses it listens on, for error messages; None if the backend cannot know."""
        ...

    async def find_port_conflict(self, machine_id: str, port: int) -> str | None:
        """Describes another process that answers on `port` of its address; None if none is known."""
        ...

    async def close(self) -> None:
        """Kill all running machines and release all resources."""
