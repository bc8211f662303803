"""Fake backend for tests: its machines are small listeners in this process.

It implements the protocol and passes the same suite as the real backends. The first word of a machine's command
selects the `FakeApp` that it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.config.model import MachineSpec
from simulator.errors import InputError
from simulator.machines.address import AddressBook
from simulator.machines.backend import Exit, Observer, Placement


@dataclass(frozen=True, slots=True)
class FakeApp:
    """Behavior of a fake machine: it writes `lines`, then exits or responds to every request with `status`."""

    lines: tuple[str, ...] = ()
    exits_with: int | None = None
    listens: bool = True
    status: int = 200
    ignores_kill_signal: bool = False


class FakeBackend:
    """Runs every machine as a listener in this process."""

    can_suspend = True

    def __init__(self, apps: Mapping[str, FakeApp] | None = None) -> None:
        self.apps: dict[str, FakeApp] = {"web": FakeApp(), **(apps or {})}
        self.port_conflicts: dict[str, str] = {}
        """Machine id -> description of the process that answers on its address."""
        self._addresses = AddressBook()
        self._machines: dict[str, _FakeMachine] = {}
        self._observer: Observer | None = None

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        self._observer = observer
        for spec in specs:
            if spec.may_run_already:
                await self.start_externally(spec)

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        program = spec.command[0] if spec.command else ""
        if program not in self.apps:
            raise InputError(f'machine {spec.name} of app {spec.app}: command "{program}" not found')
        placement = self._addresses.take(spec)
        machine = self._machines[spec.id] = _FakeMachine(spec, self.apps[program], observer)
        await machine.launch(placement)
        return placement

    async def stop(self, machine_id: str) -> None:
        if machine := self._machines.get(machine_id):
            await machine.stop()

    async def kill(self, machine_id: str) -> None:
        if machine := self._machines.get(machine_id):
            machine.end(-signal.SIGKILL)

    async def suspend(self, machine_id: str) -> None:
        if machine := self._machines.get(machine_id):
            machine.is_awake.clear()

    async def resume(self, machine_id: str) -> None:
        if machine := self._machines.get(machine_id):
            machine.is_awake.set()

    async def isolate(self, machine_id: str) -> bool:
        return False  # A listener of this process has no network of its own.

    async def rejoin(self, machine_id: str) -> None:
        pass

    async def release(self, machine_id: str) -> None:
        self._machines.pop(machine_id, None)
        self._addresses.release(machine_id)

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...]:
        machine = self._machines.get(machine_id)
        return machine.addresses if machine else ()

    async def find_port_conflict(self, machine_id: str, port: int) -> str | None:
        return self.port_conflicts.get(machine_id)

    async def close(self) -> None:
        for machine in self._machines.values():
            machine.end(-signal.SIGKILL)
        self._machines.clear()
        self._addresses.close()

    async def start_externally(self, spec: MachineSpec) -> None:
        """Start a machine, possibly a new one, as if another tool had done it."""
        assert self._observer is not None
        self._observer.machine_added(spec)
        placement = await self.launch(spec, self._observer, dns_address="")
        self._observer.machine_started(spec.id, placement)

    def write_line(self, machine_id: str, line: str) -> None:
        """Make a machine write `line` to its log."""
        self._machines[machine_id].write_line(line)

    def exit(self, machine_id: str, status: int) -> None:
        """Make a machine exit with `status`."""
        self._machines[machine_id].end(status)

    def respond_with(self, machine_id: str, status: int) -> None:
        """Make a machine respond to every request with `status` from now on."""
        self._machines[machine_id].status = status


@dataclass
class _FakeMachine:
    """One launch of one machine."""

    spec: MachineSpec
    app: FakeApp
    observer: Observer
    is_awake: asyncio.Event = field(default_factory=asyncio.Event)
    addresses: tuple[str, ...] = ()
    status: int = 200
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _listener: asyncio.Server | None = None
    _connections: set[asyncio.StreamWriter] = field(default_factory=set)

    async def launch(self, placement: Placement) -> None:
        self.is_awake.set()
        self.status = self.app.status
        if self.app.listens and self.app.exits_with is None:
            self._listener = await asyncio.start_server(self._respond, placement.host, placement.port)
            self.addresses = (placement.address,)
        for line in self.app.lines:
            self.write_line(line)
        if self.app.exits_with is not None:
            self.end(self.app.exits_with)

    def write_line(self, line: str) -> None:
        self.observer.line_logged(self.spec.id, "stdout", line)

    async def stop(self) -> None:
        if self.app.ignores_kill_signal:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), self.spec.kill_timeout_seconds)
            self.end(-signal.SIGKILL)
        self.end(-signal.Signals[self.spec.kill_signal])

    def end(self, status: int) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        if self._listener is not None:
            self._listener.close()
        for connection in self._connections:
            connection.transport.abort()
        self.observer.machine_exited(self.spec.id, Exit(status))

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await self.is_awake.wait()
            writer.write(
                f"HTTP/1.1 {self.status} Fake\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()
