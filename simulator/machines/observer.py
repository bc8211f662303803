"""Observer of the machines: applies what a backend reports to the fleet, and monitors the health of each machine.

A backend reports log lines, exits, and changes that flysim did not make: by an engine's user, Docker Compose or an
orchestrator. The fleet reflects each report in the same iteration of the event loop.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from simulator.clock import Clock
from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault
from simulator.machines.backend import Backend, Exit, Placement
from simulator.machines.health import HealthMonitor
from simulator.machines.machine_record import MachineRecord, not_healthy_in_time
from simulator.machines.registry import MachineRegistry
from simulator.routing.model import MachineState

_BUSY = frozenset({MachineState.STARTING, MachineState.DESTROYING, MachineState.DESTROYED})


class MachineObserver:
    """The observer of all machines of a registry."""

    def __init__(self, registry: MachineRegistry, backend: Backend, clock: Clock) -> None:
        self._registry = registry
        self._backend = backend
        self._clock = clock

    def start_monitoring(self, record: MachineRecord) -> None:
        """Monitor the health of a machine that just started; its first passing check finishes the start."""

        def report(healthy: bool, reason: str) -> None:
            self._registry.change(record, healthy=healthy, reason=reason)
            record.finish_start(None)

        record.stop_monitoring()
        find_port_conflict = partial(self._backend.find_port_conflict, record.spec.id)
        record.monitor = HealthMonitor(
            record.placement,
            record.own_checks(),
            self._clock,
            report,
            find_port_conflict,
            lambda: record.is_start_delayed,
            listens=record.spec.listens,
        )
        record.health_task = asyncio.create_task(record.monitor.run())

    def line_logged(self, machine_id: str, stream: str, line: str) -> None:
        if record := self._registry.get(machine_id):
            self._registry.publish_line(record, stream, line)

    def problem_reported(self, description: str, machine_id: str | None = None) -> None:
        self._registry.publish_problem(description, self._registry.get(machine_id) if machine_id else None)

    def machine_exited(self, machine_id: str, exited: Exit) -> None:
        record = self._registry.get(machine_id)
        if record is None:
            return
        if record.machine.state is not MachineState.DESTROYING:
            self._registry.change(record, MachineState.STOPPED, reason=exited.reason)
        record.last_exit = exited
        record.finish_start(exited)

    def machine_added(self, spec: MachineSpec) -> None:
        if self._registry.get(spec.id) is None:
            self._registry.add_to_baseline(spec)

    def machine_started(self, machine_id: str, placement: Placement) -> None:
        record = self._registry.get(machine_id)
        if record is None or record.machine.state in _BUSY:  # The pending start or destroy continues.
            return
        has_moved = record.machine.state is MachineState.STARTED  # It still runs, at another address.
        outcome = record.continue_start() if has_moved else record.begin_start()
        self._registry.change(
            record, MachineState.STARTED, reason="started outside flysim", placement=placement
        )
        self.start_monitoring(record)
        record.start_timeout_task = asyncio.create_task(self._report_if_unhealthy(record, outcome))

    async def _report_if_unhealthy(self, record: MachineRecord, outcome: asyncio.Future[Exit | None]) -> None:
        """Log why the machine gets no requests: no caller waits for its start."""
        await asyncio.wait([outcome], timeout=record.spec.start_timeout_seconds)
        if not outcome.done() and record.machine.state is MachineState.STARTED:
            listening = None
            with suppress(EnvironmentFault):
                listening = await self._backend.listening_addresses(record.spec.id)
            self._registry.publish_problem(str(not_healthy_in_time(record, listening)), record)

    def machine_paused(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is not None and record.machine.state is MachineState.STARTED:
            self._registry.change(record, MachineState.SUSPENDED, reason="paused outside flysim")

    def machine_unpaused(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is not None and record.machine.state is MachineState.SUSPENDED:
            record.begin_start()
            self._registry.change(record, MachineState.STARTED, reason="resumed outside flysim")
            self.start_monitoring(record)

    def machine_removed(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is None or record.machine.state is MachineState.DESTROYING:
            return
        record.stop_monitoring()
        self._registry.remove_from_baseline(record)
