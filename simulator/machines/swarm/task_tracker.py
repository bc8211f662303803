"""Tracked state of one machine: reports the start and exit of each of its tasks exactly once, in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, MachineFault
from simulator.machines.backend import Observer, Placement
from simulator.machines.swarm.task import UNKNOWN_EXIT, Phase, TaskSnapshot

Drain = Callable[[str, str], Awaitable[None]]
"""Takes a service id and a task id, and emits the remaining log lines of the task."""


class TrackedMachine:
    """One machine. For each task that ran it reports the start, then the log lines, then the exit."""

    def __init__(self, spec: MachineSpec, observer: Observer, drain: Drain) -> None:
        self.latest: TaskSnapshot | None = None
        self.exited = asyncio.Event()
        """Set while no task is reported as running."""
        self.exited.set()
        self._spec = spec
        self._observer = observer
        self._drain = drain
        self.running_task_id = ""
        """The task whose start has been reported and whose exit has not; "" if there is none."""
        self._ignored_task_id = ""
        """A task about which nothing more is reported."""
        self._exit_report: asyncio.Task[None] | None = None
        self._start: asyncio.Future[Placement | None] | None = None
        self._is_required = False
        self._stuck_since: float | None = None

    @property
    def is_running(self) -> bool:
        return bool(self.running_task_id)

    @property
    def is_reporting_exit(self) -> bool:
        return self._exit_report is not None and not self._exit_report.done()

    @property
    def is_pending(self) -> bool:
        return self.latest is not None and self.latest.phase is Phase.PENDING

    @property
    def shares_service(self) -> bool:
        return self.latest is not None and self.latest.shares_service

    @property
    def service_id(self) -> str:
        return self.latest.service_id if self.latest else ""

    def wait_for_start(self, *, is_required: bool) -> asyncio.Future[Placement | None]:
        """A future with the placement once the machine runs.

        If it cannot start, the future has an exception if `is_required`, otherwise the result None.
        """
        if self._start is None or self._start.done():
            self._start = asyncio.get_running_loop().create_future()
            self._is_required = is_required
            if self.running_task_id and self.latest is not None:
                self._start.set_result(self._placement(self.latest))
        return self._start

    def ignore_current_task(self) -> None:
        """Before a new task is requested: the current one, which has ended, is not reported again."""
        if self.latest is not None and not self.running_task_id:
            self._ignored_task_id = self.latest.task_id

    def update(self, snapshot: TaskSnapshot | None) -> None:
        """Process the latest snapshot; None: the machine has no task."""
        if self.is_reporting_exit:
            return  # The start of the next task is reported at a later poll, after this exit.
        self.latest = snapshot or self.latest
        if self.running_task_id:
            if snapshot is None or snapshot.task_id != self.running_task_id or snapshot.phase is Phase.ENDED:
                self._exit_report = asyncio.create_task(self._report_exit(snapshot))
        elif (
            snapshot is not None
            and snapshot.task_id != self._ignored_task_id
            and snapshot.phase in (Phase.RUNNING, Phase.ENDED)
        ):
            self._report_start(snapshot)

    def has_start_failed(self, snapshot: TaskSnapshot, timeout_seconds: float) -> bool:
        """Whether Swarm reports that the task failed to start, or has not placed it on a node within the timeout."""
        if snapshot.task_id == self._ignored_task_id or not snapshot.is_stuck:
            self._stuck_since = None
            return snapshot.phase is Phase.START_FAILED and snapshot.task_id != self._ignored_task_id
        self._stuck_since = self._stuck_since or time.monotonic()
        return time.monotonic() - self._stuck_since >= timeout_seconds

    def fail_start(self, fault: EnvironmentFault) -> None:
        if self._start is None or self._start.done():
            return
        if self._is_required:
            self._start.set_exception(fault)
        else:
            self._start.set_result(None)

    def close(self) -> None:
        for each in (self._exit_report, self._start):
            if each is not None:
                each.cancel()

    def _report_start(self, snapshot: TaskSnapshot) -> None:
        self.running_task_id = snapshot.task_id
        self.exited.clear()
        self._observer.machine_started(self._spec.id, self._placement(snapshot))
        if self._start is not None and not self._start.done():
            self._start.set_result(self._placement(snapshot))

    def _placement(self, snapshot: TaskSnapshot) -> Placement:
        return snapshot.placement_for(self._spec.internal_port)

    async def _report_exit(self, snapshot: TaskSnapshot | None) -> None:
        ending = UNKNOWN_EXIT
        if snapshot is not None:
            is_same_task = snapshot.task_id == self.running_task_id
            ending = (
                snapshot.ending
                if is_same_task
                else snapshot.earlier_exits.get(self.running_task_id, UNKNOWN_EXIT)
            )
        await self._drain(self.service_id, self.running_task_id)
        self._ignored_task_id, self.running_task_id = self.running_task_id, ""
        self._observer.machine_exited(self._spec.id, ending)
        self.exited.set()


def start_fault(spec: MachineSpec, error: str, *, is_single_node: bool) -> MachineFault:
    """A fault with Swarm's error message and a hint."""
    return MachineFault(
        f"{spec.name} of app {spec.app}",
        f"was not started by Swarm: {error or 'no error message'}",
        hint=_start_hint(spec, error, is_single_node=is_single_node),
    )


def _start_hint(spec: MachineSpec, error: str, *, is_single_node: bool) -> str:
    if "No such image" in error or "pull access denied" in error:
        if is_single_node:
            return f"docker build -t {spec.image} …, or docker pull {spec.image}"
        return (
            f"every node needs the image {spec.image}: push it to a registry that all nodes can reach, and set `image` "
            "to its name there, for example registry.example.com/app:1"
        )
    if "no suitable node" in error:
        return (
            f"add the region's label to a node: docker node update --label-add fly.region={spec.region} NODE; "
            "docker node ls shows which nodes are ready and active"
        )
    if "address already in use" in error or "port is already allocated" in error:
        return "the port is in use on that node: remove `published` from `ports`, so that each node chooses a free port"
    if "executable file not found" in error:
        return (
            f"the image does not contain the command {spec.command[0]!r}"
            if spec.command
            else "the image does not contain its program"
        )
    return f"docker service ps --no-trunc shows the full error; the image is {spec.image}"
