"""The backend of plain processes: each machine is one, in a session and process group of its own.

As on Fly, a machine is over when its main process is: whatever that left behind is killed with it, also what left
the process group (found by its marker in /proc, on Linux). Should flysim itself be killed, the watchdog does that.
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
    find_holder,
    find_marker,
    holds_any,
    listeners_at,
)

_SETTLE_SECONDS = 2.0
_SETTLE_PAUSE_SECONDS = 0.005


class ProcessBackend:
    """Runs every machine as a process of this computer."""

    freezes = True

    def __init__(self) -> None:
        self._addresses = AddressBook()
        self._cleanup = ProcessGroupCleanup()
        self._processes: dict[str, _MachineProcess] = {}

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        """Nobody else has a way to start a machine that is a process of ours."""

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        _check(spec)
        if previous := self._processes.get(spec.id):
            await previous.settled()
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
        return False  # Processes of one computer share its network.

    async def rejoin(self, machine_id: str) -> None:
        pass

    async def release(self, machine_id: str) -> None:
        self._processes.pop(machine_id, None)
        self._addresses.give_back(machine_id)

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...]:
        process = self._processes.get(machine_id)
        return await asyncio.to_thread(process.listening_addresses) if process else ()

    async def find_port_conflict(self, machine_id: str, port: int) -> str | None:
        process = self._processes.get(machine_id)
        if process is None:
            return None
        impostor = await asyncio.to_thread(process.find_port_conflict, port)
        return self._name(impostor) if impostor else None

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
            holder = find_holder(listener for listener in there if listener.is_wildcard)
            marker = find_marker(holder) if holder is not None else None
            if marker is None or not spec.has_own_address:
                raise
        raise EnvironmentFault(
            f"{self._name(PortConflict(holder, marker))} listens on port {spec.internal_port} of every address, "
            f"so machine {spec.name} of app {spec.app} cannot listen on its own",
            hint="let each machine bind its own address, which is {host} in command or env, and not 0.0.0.0",
        )

    def _name(self, impostor: PortConflict) -> str:
        run, _, machine_id = (impostor.marker or "").rstrip("/").partition("/")
        process = self._processes.get(machine_id) if f"{run}/" == self._cleanup.marker else None
        if process is not None:
            return f"machine {process.name}"
        return f"{'a machine of another flysim: ' if run else ''}{describe_process(impostor.pid)}"


@dataclass(frozen=True, slots=True)
class PortConflict:
    """The process that answers in a machine's place, and the marker by which it is one of a machine itself."""

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
        self._earlier: frozenset[Listener] = frozenset()
        self._observer = observer
        self._cleanup = cleanup
        self._marker = cleanup.marker_of(spec.id)
        self._outputs: tuple[LogPipe, ...] = ()
        self._transport: asyncio.SubprocessTransport | None = None
        self._group: int | None = None  # Never 0: as a group, that is flysim's own.
        self._is_stopping = False
        self._settling: asyncio.Task[None] | None = None

    async def launch(self, command: tuple[str, ...], environment: dict[str, str]) -> None:
        self._earlier = frozenset(all_listeners())
        stdout, stderr = self._outputs = tuple(LogPipe(self._emitter(name)) for name in ("stdout", "stderr"))
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
            raise _launch_fault(self._spec, command[0], error) from error
        finally:
            self.launched.set()
            stdout.close_writing_end()
            stderr.close_writing_end()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport
        self._group = transport.get_pid()
        self._cleanup.add(self._group)

    def signal(self, number: int) -> None:
        """To the whole group, as a terminal would, so that a wrapper such as a shell need not pass it on."""
        if self._group is not None and self._settling is None:
            process_cleanup.kill_group(self._group, number)

    async def stop(self) -> None:
        if not self._is_stopping:  # Many apps take a second signal for impatience.
            self._is_stopping = True
            self.signal(signal.Signals[self._spec.kill_signal])
            self.signal(signal.SIGCONT)  # One that is suspended hears nothing before.
        try:
            async with asyncio.timeout(self._spec.kill_timeout_seconds):
                await self.ended.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        await self.launched.wait()
        self.signal(signal.SIGKILL)
        await self.ended.wait()

    async def settled(self) -> None:
        """Until what a run that is over has left behind has ended, too: another run is found by the same marker."""
        if self._settling is not None:
            await self.ended.wait()

    def process_exited(self) -> None:
        assert self._transport is not None
        group, status = self._transport.get_pid(), self._transport.get_returncode()
        self._transport.close()
        process_cleanup.kill_group(group)
        for output in self._outputs:
            output.drain()
        self._settling = asyncio.get_running_loop().create_task(self._settle(group))
        self._observer.machine_exited(self._spec.id, Exit(status or 0))

    def listening_addresses(self) -> tuple[str, ...]:
        from simulator.machines.port import addresses_of

        return addresses_of({self._group, *process_cleanup.find_marked(self._marker)})

    def find_port_conflict(self, port: int) -> PortConflict | None:
        """Who answers there instead: a listener that was there before this machine, or that another machine has.

        Any other listener that is not of its own processes is let pass, because a command may have the work done
        by a daemon, as `docker run` does.
        """
        there = listeners_at(self._host, port)
        own = () if self._group is None else (self._group,)
        if not there or holds_any(own, there) or holds_any(process_cleanup.find_marked(self._marker), there):
            return None
        holder = find_holder(there)
        marker = None if holder is None else find_marker(holder)
        if marker is None and not self._earlier.issuperset(there):
            return None
        return PortConflict(holder, marker)

    async def _settle(self, group: int) -> None:
        """Wait until nothing of the machine is left, so that its port is free again."""
        from simulator.retry import poll  # Not at the top: `flysim --help` loads this module.

        killed = set[int]()

        async def is_over() -> bool | None:
            return None if await asyncio.to_thread(self._kill_rest, group, killed) else True

        await poll(is_over, timeout_seconds=_SETTLE_SECONDS, interval_seconds=_SETTLE_PAUSE_SECONDS)
        self._cleanup.remove(group)
        self._close_outputs()
        self.ended.set()

    def _kill_rest(self, group: int, killed: set[int]) -> bool:
        """Blocks. What is left of it is killed, and counted in; whether any of that has not ended yet."""
        marked = process_cleanup.find_marked(self._marker)
        process_cleanup.kill_processes(marked)
        killed.update(marked)
        has_group = process_cleanup.kill_group(group)
        if marked or not (has_group or killed):
            return bool(marked)
        lives = process_cleanup.any_lives(group, killed)
        return has_group if lives is None else lives

    def _emitter(self, stream: str) -> Callable[[str], None]:
        return lambda line: self._observer.line_logged(self._spec.id, stream, line)

    def _close_outputs(self) -> None:
        for output in self._outputs:
            output.close()


def _check(spec: MachineSpec) -> None:
    if not spec.command:
        containers = f", or --backend docker: it has the image {spec.image}" if spec.image else ""
        raise InputError(
            f"machine {spec.name} of app {spec.app} has nothing to run",
            expected=f'a `command` under [apps.{spec.app}], as in command = ["python", "app.py"]{containers}',
        )
    if spec.kill_signal not in signal.Signals.__members__:
        raise InputError(
            f'app {spec.app}: kill_signal "{spec.kill_signal}" is no signal',
            expected="one such as SIGINT or SIGTERM",
        )


def _launch_fault(spec: MachineSpec, program: str, error: OSError) -> InputError | EnvironmentFault:
    """What the operating system says of a program that it does not run, in the user's words."""
    of_machine = f"machine {spec.name} of app {spec.app}"
    if not Path(spec.cwd).is_dir():
        return InputError(f"{of_machine} cannot start in {spec.cwd}", expected="a folder that exists")
    if isinstance(error, FileNotFoundError):
        return InputError(
            f'{of_machine}: there is no command "{program}"',
            expected=f"a program on the PATH, or its path from {spec.cwd}; {{python}} is flysim's own Python",
        )
    if isinstance(error, PermissionError):
        return InputError(
            f'{of_machine}: "{program}" may not be executed', expected="a program: chmod +x may be missing"
        )
    return EnvironmentFault(f'{of_machine}: "{program}" could not be started: {error.strerror}')
