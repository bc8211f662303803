"""What it takes to run machines, as a small protocol that processes, containers and a fake all fulfil.

A backend knows nothing of states, health or the fleet: it launches what it is told to and reports what it hears.
For every launch, `Observer.machine_exited` is called exactly once, after the last line of the machine's log and
before `stop`, `kill` or `close` return. All fulfil one suite, `tests/contract/test_backend.py`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from simulator.config.model import MachineSpec
from simulator.routing.model import Ports, forwarded_port, join_address

_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a machine listens, and the private address that its peers know it by."""

    host: str
    port: int
    private_ip: str
    ports: Ports = ()
    """Where its ports are forwarded, as pairs of its own port and that at `host`; empty: they are the same."""

    @property
    def address(self) -> str:
        return join_address(self.host, self.port)

    @property
    def is_forwarded(self) -> bool:
        """Whether something stands between that accepts connections even where the machine would not."""
        return bool(self.ports)

    def port_for(self, internal_port: int) -> int:
        """Where one of the machine's own ports is to be reached, at `host`."""
        return forwarded_port(self.ports, internal_port)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a machine's main process ended: its exit status, or minus the number of the signal that killed it."""

    status: int
    words: str = ""
    """How it is to be told where nobody knows the status."""

    @classmethod
    def of_status(cls, status: int) -> Exit:
        """An init, and Docker after it, pass on the end by a signal as a shell does, as 128 and its number."""
        number = status - _SIGNALLED
        return cls(-number) if 0 < number < signal.NSIG else cls(status)

    def __str__(self) -> str:
        if self.words:
            return self.words
        if self.status >= 0:
            return f"exited with status {self.status}"
        return f"was killed by {_signal_name(-self.status)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # A real-time signal has a number only.
        return f"signal {number}"


FindEdge = Callable[[int, str], tuple[str, int] | None]
"""From a public port and a machine's region to where the edge listens that the private network leads it to (F-8.20)."""


class Observer(Protocol):
    """Hears of its machines, always on the event loop's thread."""

    def line_logged(self, machine_id: str, stream: str, line: str) -> None:
        """`stream` is "stdout" or "stderr"; the line comes without its end."""

    def machine_exited(self, machine_id: str, ending: Exit) -> None: ...

    # What others did to machines: a person at a terminal, Docker Compose, an orchestrator.

    def machine_joined(self, spec: MachineSpec) -> None:
        """There is another machine; it does not run yet, as far as has been told."""

    def machine_began(self, machine_id: str, placement: Placement) -> None:
        """It runs although it was not launched from here. Its exit is reported like that of any launch."""

    def machine_froze(self, machine_id: str) -> None: ...

    def machine_thawed(self, machine_id: str) -> None: ...

    def machine_left(self, machine_id: str) -> None:
        """It has been removed, for good."""

    def problem_met(self, words: str, machine_id: str | None = None) -> None:
        """What others did makes no sense; nobody here asked for it, so nothing is raised."""


class Backend(Protocol):
    """Runs machines. All but `launch` take a machine that does not run for granted, and do nothing then."""

    freezes: bool
    """Whether `suspend` can be done here."""

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        """Before the first launch: begin to tell of what others do to machines, `specs` and any that join.

        Before it returns it has told `machine_began` of every one of `specs` that is found running.
        Raises EnvironmentFault when what runs the machines does not answer.
        """
        ...

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        """Start a machine that does not run; returns when its program runs, which is before it listens.

        Its placement stays the same from launch to launch, until `release`.
        Raises InputError for a command that cannot be run, EnvironmentFault where there is no place for it.
        """
        ...

    async def stop(self, machine_id: str) -> None:
        """Its `kill_signal`, then after `kill_timeout_seconds` the end of everything it started (F-5.37)."""

    async def kill(self, machine_id: str) -> None:
        """End it, and everything it started, at once."""

    async def suspend(self, machine_id: str) -> None:
        """Freeze it: it neither runs nor answers, and loses nothing."""

    async def resume(self, machine_id: str) -> None: ...

    async def isolate(self, machine_id: str) -> bool:
        """Cut it off from every network, if that can be done here; False: it cannot, so it is done at the proxy."""
        ...

    async def rejoin(self, machine_id: str) -> None:
        """Undo `isolate`: the machine is where it was before."""

    async def release(self, machine_id: str) -> None:
        """Forget a machine that does not run, and give back its address."""

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...] | None:
        """Where it listens, for the text of a fault; None: it cannot be told."""
        ...

    async def find_port_conflict(self, machine_id: str, port: int) -> str | None:
        """Who answers at `port` of its address in its place, in words; None: itself, nobody, or it cannot be told."""
        ...

    async def close(self) -> None:
        """Kill what still runs, release all."""
