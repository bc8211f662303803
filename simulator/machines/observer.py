"""Hears what becomes of the machines, and has each examined for as long as it runs.

A backend tells of lines and exits, and of what others did behind our back: an engine's user, Docker Compose, an
orchestrator. Whatever it is, the fleet knows in the same iteration of the event loop.
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

_FROM_OUTSIDE = "not by flysim"
_UNDER_WAY = frozenset({MachineState.STARTING, MachineState.DESTROYING, MachineState.DESTROYED})


class MachineObserver:
    """The observer of all machines of a roster."""

    def __init__(self, registry: MachineRegistry, backend: Backend, clock: Clock) -> None:
        self._registry = registry
        self._backend = backend
        self._clock = clock

    def examine(self, record: MachineRecord) -> None:
        """A machine that has just started: watch its health, and settle its start by the first pass."""

        def report(healthy: bool, reason: str) -> None:
            self._registry.change(record, healthy=healthy, reason=reason)
            record.settle_start(None)

        record.stop_examining()
        find_port_conflict = partial(self._backend.find_port_conflict, record.spec.id)
        record.monitor = HealthMonitor(
            record.placement,
            record.own_checks(),
            self._clock,
            report,
            find_port_conflict,
            lambda: record.is_held,
            listens=record.spec.listens,
        )
        record.examining = asyncio.create_task(record.monitor.run())

    def line_logged(self, machine_id: str, stream: str, line: str) -> None:
        if record := self._registry.get(machine_id):
            self._registry.tell_line(record, stream, line)

    def problem_met(self, words: str, machine_id: str | None = None) -> None:
        self._registry.tell_problem(words, self._registry.get(machine_id) if machine_id else None)

    def machine_exited(self, machine_id: str, ending: Exit) -> None:
        record = self._registry.get(machine_id)
        if record is None:
            return
        if record.machine.state is not MachineState.DESTROYING:
            self._registry.change(record, MachineState.STOPPED, reason=str(ending))
        record.ending = ending
        record.settle_start(ending)

    def machine_joined(self, spec: MachineSpec) -> None:
        if self._registry.get(spec.id) is None:
            self._registry.admit(spec)

    def machine_began(self, machine_id: str, placement: Placement) -> None:
        record = self._registry.get(machine_id)
        if record is None or record.machine.state in _UNDER_WAY:  # Whoever starts it here goes on from there.
            return
        has_moved = record.machine.state is MachineState.STARTED  # It runs on, elsewhere.
        outcome = record.go_on() if has_moved else record.begin_start()
        self._registry.change(
            record, MachineState.STARTED, reason=f"started, {_FROM_OUTSIDE}", placement=placement
        )
        self.examine(record)
        record.doubting = asyncio.create_task(self._doubt(record, outcome))

    async def _doubt(self, record: MachineRecord, outcome: asyncio.Future[Exit | None]) -> None:
        """Nobody here waits for it, so nobody would be told why it gets no requests."""
        await asyncio.wait([outcome], timeout=record.spec.start_timeout_seconds)
        if not outcome.done() and record.machine.state is MachineState.STARTED:
            listening = None
            with suppress(EnvironmentFault):
                listening = await self._backend.listening_addresses(record.spec.id)
            self._registry.tell_problem(str(not_healthy_in_time(record, listening)), record)

    def machine_froze(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is not None and record.machine.state is MachineState.STARTED:
            self._registry.change(record, MachineState.SUSPENDED, reason=f"paused, {_FROM_OUTSIDE}")

    def machine_thawed(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is not None and record.machine.state is MachineState.SUSPENDED:
            record.begin_start()
            self._registry.change(record, MachineState.STARTED, reason=f"resumed, {_FROM_OUTSIDE}")
            self.examine(record)

    def machine_left(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is None or record.machine.state is MachineState.DESTROYING:
            return
        record.stop_examining()
        self._registry.dismiss(record)
