"""Task poller for one stack: fetches all tasks about twice a second and reports what has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager, suppress

from simulator.config.model import Config, MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import Observer
from simulator.machines.swarm.adoption import check_duplicate, check_task_labels, machine_spec_of
from simulator.machines.swarm.manager import Manager
from simulator.machines.swarm.service_log import Line, ServiceLog
from simulator.machines.swarm.task import Phase, TaskSnapshot
from simulator.machines.swarm.task_tracker import TrackedMachine, start_fault

POLL_SECONDS = 0.5
FAST_POLL_SECONDS = 0.1
"""Swarm deletes a task that it has stopped a quarter of a second after its exit."""
_STUCK_SECONDS = 5.0


class TaskPoller:
    """All machines of one stack. Machines that join later belong to the apps of `config`."""

    def __init__(
        self, manager: Manager, stack: str, config: Config, observer: Observer, *, since: str = ""
    ) -> None:
        """`since`: the start of the logs, in seconds since 1970; "": from their beginning."""
        self.specs: dict[str, MachineSpec] = {}
        self.tracked: dict[str, TrackedMachine] = {}
        self.is_closing = False
        """While flysim removes the stack, machines that leave are not reported."""
        self._manager = manager
        self._stack = stack
        self._config = config
        self._observer = observer
        self._since = since
        self._logs: dict[str, ServiceLog] = {}
        self._machine_of_task: dict[str, str] = {}
        """Task id -> machine id."""
        self._buffered_lines: dict[str, list[Line]] = {}
        """Task id -> lines received before the task's start was reported."""
        self._recent_tasks: set[str] = set()
        """Tasks that have logged a line since the latest poll; their snapshot may not be known yet."""
        self._poll_task: asyncio.Task[None] | None = None
        self._snapshots: dict[str, TaskSnapshot] = {}
        self._poll_lock = asyncio.Lock()
        self._fast_poll_requests = 0
        self._is_any_stopping = False
        self._problems: set[str] = set()
        self._previous_problems: set[str] = set()
        """Problems of the previous poll, so that one that persists is reported once."""
        self._wake_up = asyncio.Event()

    def open(self) -> None:
        self._poll_task = asyncio.create_task(self._run(), name=f"stack {self._stack}")

    async def close(self) -> None:
        if self._poll_task is not None:
            self._poll_task.cancel()
            await asyncio.gather(self._poll_task, return_exceptions=True)
        for tracked in self.tracked.values():
            tracked.close()
        for log in self._logs.values():
            log.close()

    def track(self, machine_id: str) -> TrackedMachine:
        if machine_id not in self.tracked:
            self.tracked[machine_id] = TrackedMachine(self.specs[machine_id], self._observer, self._drain)
        return self.tracked[machine_id]

    @asynccontextmanager
    async def fast_polling(self) -> AsyncIterator[None]:
        """Poll at once and then more often, while a change is expected."""
        self._fast_poll_requests += 1
        self._wake_up.set()
        try:
            yield
        finally:
            self._fast_poll_requests -= 1

    async def poll(self) -> None:
        """Poll once. Polls do not overlap, so that changes are reported in order."""
        async with self._poll_lock:
            self._previous_problems, self._problems = self._problems, set()
            await self._poll()

    async def _poll(self) -> None:
        fetched = await self._manager.fetch_tasks(self._stack)
        snapshots = self._snapshots = self._snapshots if fetched is None else fetched
        self._is_any_stopping = any(each.is_stopping for each in snapshots.values())
        missing = [machine_id for machine_id in self.tracked if machine_id not in snapshots]
        services = await self._manager.services(self._stack) if missing else {}
        for snapshot in snapshots.values():
            self._update(snapshot)
        self._prune()
        for machine_id in missing:
            if machine_id in self.tracked:  # It may have been released during the request.
                self._handle_missing(machine_id, services)

    async def _run(self) -> None:
        """Periodic polling, not a retry: the interval depends on what is expected, and it never ends by itself."""
        while True:
            with suppress(TimeoutError):
                is_fast = self._fast_poll_requests or self._is_any_stopping
                async with asyncio.timeout(FAST_POLL_SECONDS if is_fast else POLL_SECONDS):
                    await self._wake_up.wait()
            self._wake_up.clear()
            try:
                await self.poll()
            except EnvironmentFault:
                pass  # No response: the state is unknown until a later poll succeeds.
            except Exception as error:  # One failed poll must not end the polling.
                self._report_problem(f"cannot read the tasks of the stack {self._stack}: {error!r}")

    def _update(self, snapshot: TaskSnapshot) -> None:
        if not self._is_accepted(snapshot):
            return
        tracked = self.track(snapshot.machine_id)
        self._machine_of_task[snapshot.task_id] = snapshot.machine_id
        self._log_of(snapshot.service_id).open()
        tracked.update(snapshot)
        if tracked.running_task_id == snapshot.task_id:
            for line in self._buffered_lines.pop(snapshot.task_id, ()):
                self._emit_line(line)
        if tracked.has_start_failed(snapshot, _STUCK_SECONDS):
            spec = self.specs[snapshot.machine_id]
            tracked.fail_start(start_fault(spec, snapshot.error, is_single_node=self._manager.is_single_node))

    def _handle_missing(self, machine_id: str, services: Container[str]) -> None:
        """Handle a machine that no longer has a task: it was stopped or scaled down, or its service was removed."""
        tracked = self.tracked[machine_id]
        tracked.update(None)
        has_left = bool(tracked.service_id) and (tracked.shares_service or tracked.service_id not in services)
        if tracked.is_running or not (has_left or self.is_closing):
            return
        tracked.close()
        del self.tracked[machine_id]
        if not self.is_closing:
            self.specs.pop(machine_id, None)
            self._observer.machine_removed(machine_id)

    def _is_accepted(self, snapshot: TaskSnapshot) -> bool:
        """Whether it is a known machine, or a valid new one, which then joins."""
        is_known = snapshot.machine_id in self.specs
        if snapshot.phase in (Phase.ENDED, Phase.START_FAILED):
            return is_known
        try:
            if not is_known:
                self._join(machine_spec_of(snapshot, self._config, self.specs))
            elif snapshot.task_id not in self._machine_of_task:
                check_task_labels(snapshot, self._config)
            check_duplicate(snapshot)
        except InputError as error:
            if (
                self._poll_task is None
            ):  # Before `open`, the caller gets the error. Later it is only reported.
                raise
            self._report_problem(f"{error}", snapshot.machine_id)
        return snapshot.machine_id in self.specs

    def _join(self, spec: MachineSpec) -> None:
        self.specs[spec.id] = spec
        self._observer.machine_added(spec)

    def _report_problem(self, problem: str, machine_id: str = "") -> None:
        self._problems.add(problem)
        if problem not in self._previous_problems:
            self._observer.problem_reported(problem, machine_id if machine_id in self.tracked else None)

    def _log_of(self, service_id: str) -> ServiceLog:
        if service_id not in self._logs:
            self._logs[service_id] = ServiceLog(self._manager, service_id, self._emit_line, since=self._since)
        return self._logs[service_id]

    async def _drain(self, service_id: str, task_id: str) -> None:
        await self._log_of(service_id).drain(task_id)

    def _emit_line(self, line: Line) -> None:
        machine_id = self._machine_of_task.get(line.task_id)
        tracked = self.tracked.get(machine_id) if machine_id else None
        if machine_id and tracked and tracked.running_task_id == line.task_id:
            self._observer.line_logged(machine_id, line.stream, line.text)
        elif tracked or not machine_id:
            self._buffered_lines.setdefault(line.task_id, []).append(line)
            self._recent_tasks.add(line.task_id)

    def _prune(self) -> None:
        """Drop tasks that Swarm no longer lists, except those whose exit has not been reported."""
        listed = {each.task_id for each in self._snapshots.values()} | self._recent_tasks
        kept = listed | {each.running_task_id for each in self.tracked.values()}
        self._machine_of_task = {
            task_id: machine_id for task_id, machine_id in self._machine_of_task.items() if task_id in kept
        }
        self._buffered_lines = {
            task_id: lines for task_id, lines in self._buffered_lines.items() if task_id in listed
        }
        self._recent_tasks.clear()
        services = {each.service_id for each in self.tracked.values()}
        services |= {each.service_id for each in self._snapshots.values()}
        for service_id, log in tuple(self._logs.items()):
            log.keep(kept)
            if service_id not in services:
                log.close()
                del self._logs[service_id]


def now_in_seconds() -> str:
    return str(int(time.time()))
