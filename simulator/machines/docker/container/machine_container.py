"""Container of one machine: control by flysim, and events from the engine for external changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import Exit, Observer, Placement
from simulator.machines.docker.container.early_exits import EarlyExits
from simulator.machines.docker.container.logs import ContainerLog
from simulator.machines.docker.container.pause import PauseState
from simulator.machines.docker.container.start_fault import start_fault
from simulator.machines.docker.engine import Engine, EngineError
from simulator.machines.docker.events import ContainerEvent
from simulator.machines.docker.network.attachments import NetworkAttachments
from simulator.retry import retry_on

_LOG_DRAIN_SECONDS = 0.15
"""How long the report of an exit waits for the last lines of the log."""
_KILLED_EXIT_CODE = 137
_INIT_ERROR_SECONDS = 0.03
_EXIT_WAIT_SECONDS = 10.0
_KILL_EVENT_SECONDS = 0.5
"""How long to wait for the exit event after SIGKILL, before the signal is sent again."""

Locate = Callable[[Any], Placement]
"""Returns a machine's address, given its container as `docker inspect` shows it."""


class MachineContainer:
    """A container that exists. `locate` finds its address while it runs; None: `placement` stays the same."""

    def __init__(
        self,
        engine: Engine,
        container_id: str,
        spec: MachineSpec,
        placement: Placement,
        observer: Observer,
        locate: Locate | None = None,
    ) -> None:
        self.id = container_id
        self.spec = spec
        self.placement = placement
        self._locate = locate
        self._engine = engine
        self._observer = observer
        self._log = ContainerLog(engine, container_id, partial(observer.line_logged, spec.id))
        self._is_running = False
        self._exited = asyncio.Event()
        self._exited.set()
        self._is_starting = False
        self._pending_exit_code: int | None = None
        """From an exit event that arrived before the engine had confirmed the start."""
        self._is_stopping = False
        self._confirm_task: asyncio.Task[None] | None = None
        self._update_lock = asyncio.Lock()
        """Held while one change of state is processed, so that changes are reported in order."""
        self._run_number = 0
        self._attachments = NetworkAttachments(engine, container_id)
        self._pause = PauseState(engine, container_id, spec.id, observer)
        self._early_exits = EarlyExits(engine, container_id, spec, observer)
        self._should_run = False
        """For a container that flysim did not create: whether `restore` leaves it running."""

    @property
    def is_running(self) -> bool:
        return self._is_running

    @property
    def is_ours(self) -> bool:
        """Whether flysim created it, and removes it."""
        return not self.spec.is_adopted

    # Control by flysim.

    async def start(self) -> None:
        """Start the container and return when its program runs. Raises InputError, EnvironmentFault."""
        self._is_starting, self._pending_exit_code = True, None
        try:
            await self._log.open(is_start=True)
            self._mark_started()
            await self._engine.call(self._engine.api.start, self.id)
            if init_error := await self._log.find_init_error(_INIT_ERROR_SECONDS):
                raise InputError(init_error)
            if self._locate is not None:
                self._update_placement(await self.inspect())
        except BaseException as error:  # If it runs all the same, an event will follow.
            self._is_running, self._pending_exit_code = False, None
            self._exited.set()
            if isinstance(error, EngineError | InputError):
                raise start_fault(self.spec, getattr(error, "explanation", str(error))) from error
            raise
        finally:
            self._is_starting = False
            if self._pending_exit_code is not None:
                self._confirm_task = asyncio.create_task(self._confirm_exit(self._pending_exit_code))

    async def stop(self) -> None:
        """Send the stop signal, and SIGKILL after the kill timeout."""
        if not self._is_running:
            return
        if not self._is_stopping:
            self._is_stopping = True
            try:
                await self._signal(self.spec.kill_signal)
            except EnvironmentFault:
                self._is_stopping = False
                raise
            await self.resume()
        try:
            async with asyncio.timeout(self.spec.kill_timeout_seconds):
                await self._exited.wait()
        except TimeoutError:
            await self.kill()
        else:
            await self._wait_until_stopped()

    async def kill(self) -> None:
        """Send SIGKILL until the container has exited: the engine ignores the signal while it starts a container."""
        if self._is_running:
            await retry_on(TimeoutError, interval_seconds=0)(self._kill_once)
            await self._wait_until_stopped()

    async def _kill_once(self) -> None:
        """Raises TimeoutError if the container still runs, or runs again."""
        if not self._is_running:
            return
        self._is_stopping = True
        await self._signal("SIGKILL")
        async with asyncio.timeout(_KILL_EVENT_SECONDS):
            await self._exited.wait()
        if self._is_running:
            raise TimeoutError

    async def _wait_until_stopped(self) -> None:
        """The engine sends the exit event before the container's state changes; a start has no effect until then."""
        with suppress(EnvironmentFault):  # The container has been removed.
            await self._engine.call(self._engine.api.wait, self.id, timeout=_EXIT_WAIT_SECONDS)

    async def suspend(self) -> None:
        if self._is_running:
            await self._pause.pause()

    async def resume(self) -> None:
        await self._pause.resume()

    async def isolate(self) -> bool:
        """Disconnect it from its networks. False: it does not run, or was disconnected externally."""
        return self._is_running and await self._attachments.disconnect(
            (await self.inspect())["NetworkSettings"]["Networks"]
        )

    async def rejoin(self) -> None:
        """Undo `isolate`. Raises EnvironmentFault for a network that cannot be reconnected."""
        await self._attachments.reconnect()
        previous = self.placement
        if self._is_running:
            self._update_placement(await self.inspect())
        if self.placement != previous:
            self._observer.machine_started(self.spec.id, self.placement)

    async def restore(self) -> None:
        """Return a project's container to the state in which flysim found it, as far as the engine allows."""
        try:
            await self.rejoin()
        finally:
            if self._pause.is_ours:
                await self.resume()
            if self._should_run and self._is_stopping and not self._is_running:
                await self.start()
            elif self._is_running and not self._should_run:
                await self.stop()
            if self._pause.stays_paused:
                await self.suspend()

    async def remove(self) -> None:
        try:
            await self._engine.call(self._engine.api.remove_container, self.id, v=True, force=True)
        except EngineError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _signal(self, name: str) -> None:
        """Send a signal. If the container is no longer running, read its state instead."""
        try:
            await self._engine.call(self._engine.api.kill, self.id, name)
            return
        except EngineError:
            await self.resume()  # Some engines do not signal a paused container.
        try:
            await self._engine.call(self._engine.api.kill, self.id, name)
            return
        except EngineError as error:
            if not error.is_gone_or_conflict:
                raise
        await self.refresh()

    # Changes that the engine reports.

    async def refresh(self) -> None:
        """Read the container's state from the engine and report what has changed."""
        async with self._update_lock:
            run_number = self._run_number
            try:
                attrs = await self.inspect()
            except EngineError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                attrs = {"State": {"Running": False, "ExitCode": _KILLED_EXIT_CODE}}
                self._early_exits.reset()
            if self._is_starting or run_number != self._run_number:
                return  # The state is that of an earlier run.
            state = attrs["State"]
            if state.get("Restarting") and not self._is_running and not self.is_ours:
                self._early_exits.run_started()
            # While Docker waits to restart a container, both `Running` and `Restarting` are true.
            if not state["Running"] or state.get("Restarting"):
                await self._mark_exited(state["ExitCode"])
                return
            if not self._is_running:
                self._update_placement(attrs)
            # The engine does not attach to a paused container.
            if not state["Paused"] and not (self._is_running and self._log.is_open):
                await self._log.open()
            if not self._is_running:
                self._mark_running()
            self._pause.update(state["Paused"])

    async def handle_event(self, event: ContainerEvent) -> None:
        if event.action == "die" and self._is_starting:  # The engine also sends it for a start that fails.
            self._pending_exit_code = event.exit_code
        elif event.action == "die":
            await self._exit_in_order(event.exit_code)
        elif event.action == "destroy":
            await self._exit_in_order(_KILLED_EXIT_CODE)
        else:
            if event.action == "start" and not (self._is_running or self._is_starting or self.is_ours):
                self._early_exits.run_started()
            try:
                await self.refresh()
            except EnvironmentFault:  # Whether the run was short is unknown.
                self._early_exits.reset()
                raise

    def _mark_running(self) -> None:
        """Report a run that flysim did not start."""
        self._mark_started()
        self._should_run = True
        self._observer.machine_started(self.spec.id, self.placement)

    async def inspect(self) -> Any:
        return await self._engine.call(self._engine.api.inspect_container, self.id)

    def _update_placement(self, attrs: Any) -> None:
        if self._locate is not None:
            self.placement = self._locate(attrs)

    def close(self) -> None:
        """Stop following the container."""
        if self._confirm_task is not None:
            self._confirm_task.cancel()
        self._log.close()

    def _mark_started(self) -> None:
        self._is_running, self._is_stopping = True, False
        self._pause.reset()
        self._run_number += 1
        self._exited.clear()
        self._early_exits.reset()

    async def _confirm_exit(self, exit_code: int) -> None:
        """Check an exit event that arrived during a start: it may be a late event of an earlier run."""
        try:
            await self.refresh()
        except EnvironmentFault:
            await self._exit_in_order(exit_code)

    async def _exit_in_order(self, exit_code: int) -> None:
        async with self._update_lock:
            await self._mark_exited(exit_code)

    async def _mark_exited(self, exit_code: int) -> None:
        """Report the exit after the last lines of the log."""
        if not self._is_running:
            await self._early_exits.run_ended(exit_code)
            return
        await self._log.wait_for_end(_LOG_DRAIN_SECONDS)
        self._is_running = self._pause.is_ours = False
        self._exited.set()
        self._observer.machine_exited(self.spec.id, Exit.of_status(exit_code))
