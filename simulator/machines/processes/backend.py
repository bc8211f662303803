"""Process backend: each machine is a process in its own session and process group.

As on Fly, a machine ends when its main process exits. flysim then kills the remaining processes of the machine, on
Linux also those that left the process group: it finds them by a marker in their environment. If flysim itself is
killed, a cleanup process does this.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.file_limit import restore_file_limit
from simulator.machines.address import SHARED_HOST, AddressBook
from simulator.machines.backend import Exit, Observer, Placement
from simulator.machines.cleanup import process_cleanup as process_cleanup
from simulator.machines.cleanup.process_groups import ProcessGroupCleanup
from simulator.machines.environment import machine_command, machine_environment
from simulator.machines.log import LogPipe
from simulator.machines.port import describe_process
from simulator.machines.processes.listener import (
    Listener,
    all_listeners,
    find_marker,
    find_owner,
    listeners_at,
    owns_any,
)

_CLEANUP_SECONDS = 2.0
_CLEANUP_PAUSE_SECONDS = 0.005


class ProcessBackend:
    """Runs every machine as a process on this computer."""

    can_suspend = True

    def __init__(self) -> None:
        self._addresses = AddressBook()
        self._cleanup = ProcessGroupCleanup()
        self._processes: dict[str, _MachineProcess] = {}

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        """Nothing to watch: no other tool starts these processes."""

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        _check_spec(spec)
        if previous := self._processes.get(spec.id):
            await previous.wait_for_leftovers()
        placement = self._take_address(spec)
        self._cleanup.start()
        process = _MachineProcess(spec, placement.host, observer, self._cleanup)
        inherited = {**os.environ}
        environment = machine_environment(spec, placement, dns_address=dns_address, inherited=inherited)
        self._processes[spec.id] = process
        await process.launch(machine_command(spec, placement, dns_address=dns_address), environment)
        return placement

    async def stop(self, machine_id: str) -> None:
        if process := self._processes.get(machine_id):
            await process.stop()

    async def kill(self, machine_id: str) -> None:
        if process := self._processes.get(machine_id):
            await process.kill()

    async def suspend(self, machine_id: str) -> None:
        if process := self._processes.get(machine_id):
            process.signal(signal.SIGSTOP)

    async def resume(self, machine_id: str) -> None:
        if process := self._processes.get(machine_id):
            process.signal(signal.SIGCONT)

    async def isolate(self, machine_id: str) -> bool:
        return False  # The processes of a computer share its network.

    async def rejoin(self, machine_id: str) -> None:
        pass

    async def release(self, machine_id: str) -> None:
        self._processes.pop(machine_id, None)
        self._addresses.release(machine_id)

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...]:
        process = self._processes.get(machine_id)
        return await asyncio.to_thread(process.listening_addresses) if process else ()

    async def find_port_conflict(self, machine_id: str, port: int) -> str | None:
        process = self._processes.get(machine_id)
        if process is None:
            return None
        conflict = await asyncio.to_thread(process.find_port_conflict, port)
        return self._describe(conflict) if conflict else None

    async def close(self) -> None:
        await asyncio.gather(*(self.kill(machine_id) for machine_id in self._processes))
        self._processes.clear()
        self._addresses.close()
        await self._cleanup.close()

    def _take_address(self, spec: MachineSpec) -> Placement:
        try:
            return self._addresses.take(spec)
        except EnvironmentFault:
            there = listeners_at(SHARED_HOST, spec.internal_port)
            owner = find_owner(listener for listener in there if listener.is_wildcard)
            marker = find_marker(owner) if owner is not None else None
            if marker is None or not spec.has_own_address:
                raise
        raise EnvironmentFault(
            f"machine {spec.name} of app {spec.app} cannot listen on its own address: port {spec.internal_port} is in "
            f"use by {self._describe(PortConflict(owner, marker))}, which listens on all addresses (0.0.0.0)",
            hint="bind each machine to its own address instead: {host} in `command` or `env`",
        )

    def _describe(self, conflict: PortConflict) -> str:
        run, _, machine_id = (conflict.marker or "").rstrip("/").partition("/")
        process = self._processes.get(machine_id) if f"{run}/" == self._cleanup.marker else None
        if process is not None:
            return f"machine {process.name}"
        return f"{'a machine of another flysim, ' if run else ''}{describe_process(conflict.pid)}"


@dataclass(frozen=True, slots=True)
class PortConflict:
    """The process that answers instead of a machine, and its marker if it belongs to a machine itself."""

    pid: int | None
    marker: str | None


class _MachineProcess(asyncio.SubprocessProtocol):
    """One launch of one machine."""

    def __init__(
        self, spec: MachineSpec, host: str, observer: Observer, cleanup: ProcessGroupCleanup
    ) -> None:
        self.name = spec.name
        self.launched = asyncio.Event()
        self.ended = asyncio.Event()
        self._spec = spec
        self._host = host
        self._listeners_before: frozenset[Listener] = frozenset()
        self._observer = observer
        self._cleanup = cleanup
        self._marker = cleanup.marker_of(spec.id)
        self._outputs: tuple[LogPipe, ...] = ()
        self._transport: asyncio.SubprocessTransport | None = None
        self._group: int | None = None  # Never 0, which is flysim's own process group.
        self._is_stopping = False
        self._cleanup_task: asyncio.Task[None] | None = None

    async def launch(self, command: tuple[str, ...], environment: dict[str, str]) -> None:
        self._listeners_before = frozenset(all_listeners())
        stdout, stderr = self._outputs = tuple(
            LogPipe(self._make_emit(name)) for name in ("stdout", "stderr")
        )
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: self,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout.writing_end,
                stderr=stderr.writing_end,
                cwd=self._spec.cwd,
                env=environment | {process_cleanup.MARKER: self._marker},
                start_new_session=True,
            )
        except OSError as error:
            self._close_outputs()
            self.ended.set()
            raise _make_launch_fault(self._spec, command[0], error) from error
        finally:
            self.launched.set()
            stdout.close_writing_end()
            stderr.close_writing_end()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport
        self._group = transport.get_pid()
        restore_file_limit(self._group)
        self._cleanup.add(self._group)

    def signal(self, number: int) -> None:
        """Signal the whole process group, as a terminal does: a wrapper such as a shell may not forward signals."""
        if self._group is not None and self._cleanup_task is None:
            process_cleanup.kill_group(self._group, number)

    async def stop(self) -> None:
        if not self._is_stopping:  # Many apps exit without cleanup on a second signal.
            self._is_stopping = True
            self.signal(signal.Signals[self._spec.kill_signal])
            self.signal(signal.SIGCONT)  # A suspended process receives signals only once it continues.
        try:
            async with asyncio.timeout(self._spec.kill_timeout_seconds):
                await self.ended.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        await self.launched.wait()
        self.signal(signal.SIGKILL)
        await self.ended.wait()

    async def wait_for_leftovers(self) -> None:
        """Wait until the leftovers of an ended run are gone: they have the same marker as the next run."""
        if self._cleanup_task is not None:
            await self.ended.wait()

    def process_exited(self) -> None:
        assert self._transport is not None
        group, status = self._transport.get_pid(), self._transport.get_returncode()
        self._transport.close()
        process_cleanup.kill_group(group)
        for output in self._outputs:
            output.drain()
        self._cleanup_task = asyncio.get_running_loop().create_task(self._remove_leftovers(group))
        self._observer.machine_exited(self._spec.id, Exit(status or 0))

    def listening_addresses(self) -> tuple[str, ...]:
        from simulator.machines.port import addresses_of

        return addresses_of({self._group, *process_cleanup.find_marked(self._marker)})

    def find_port_conflict(self, port: int) -> PortConflict | None:
        """Another process that answers on `port`: one that listened before this machine, or another machine's.

        Any other listener is accepted, because a command may delegate its work to a daemon, as `docker run` does.
        """
        there = listeners_at(self._host, port)
        own = () if self._group is None else (self._group,)
        if not there or owns_any(own, there) or owns_any(process_cleanup.find_marked(self._marker), there):
            return None
        owner = find_owner(there)
        marker = None if owner is None else find_marker(owner)
        if marker is None and not self._listeners_before.issuperset(there):
            return None
        return PortConflict(owner, marker)

    async def _remove_leftovers(self, group: int) -> None:
        """Kill the leftovers of the machine, and wait until its port is free again."""
        from simulator.retry import poll  # Not at the top: `flysim --help` loads this module.

        killed = set[int]()

        async def is_over() -> bool | None:
            return None if await asyncio.to_thread(self._kill_leftovers, group, killed) else True

        await poll(is_over, timeout_seconds=_CLEANUP_SECONDS, interval_seconds=_CLEANUP_PAUSE_SECONDS)
        self._cleanup.remove(group)
        self._close_outputs()
        self.ended.set()

    def _kill_leftovers(self, group: int, killed: set[int]) -> bool:
        """Kill what is left of the machine and add it to `killed`. Returns whether any of it is still alive. Blocks."""
        marked = process_cleanup.find_marked(self._marker)
        process_cleanup.kill_processes(marked)
        killed.update(marked)
        has_group = process_cleanup.kill_group(group)
        if marked or not (has_group or killed):
            return bool(marked)
        lives = process_cleanup.any_alive(group, killed)
        return has_group if lives is None else lives

    def _make_emit(self, stream: str) -> Callable[[str], None]:
        return lambda line: self._observer.line_logged(self._spec.id, stream, line)

    def _close_outputs(self) -> None:
        for output in self._outputs:
            output.close()


def _check_spec(spec: MachineSpec) -> None:
    if not spec.command:
        containers = f", or --backend docker to run its image {spec.image}" if spec.image else ""
        raise InputError(
            f"machine {spec.name} of app {spec.app} has no command to run",
            expected=f'a `command` under [apps.{spec.app}], as in command = ["python", "app.py"]{containers}',
        )
    if spec.kill_signal not in signal.Signals.__members__:
        raise InputError(
            f'app {spec.app}: kill_signal "{spec.kill_signal}" is not a signal',
            expected="a signal name such as SIGINT or SIGTERM",
        )


def _make_launch_fault(spec: MachineSpec, program: str, error: OSError) -> InputError | EnvironmentFault:
    """The error for a program that the operating system does not start."""
    machine = f"machine {spec.name} of app {spec.app}"
    if not Path(spec.cwd).is_dir():
        return InputError(f"{machine} cannot start in {spec.cwd}", expected="an existing directory")
    if isinstance(error, FileNotFoundError):
        return InputError(
            f'{machine}: command "{program}" not found',
            expected=f"a program on the PATH, or a path relative to {spec.cwd}; {{python}} is flysim's own Python",
        )
    if isinstance(error, PermissionError):
        return InputError(
            f'{machine}: "{program}" is not executable', expected="an executable file (chmod +x)"
        )
    return EnvironmentFault(f'{machine}: "{program}" could not be started: {error.strerror}')
