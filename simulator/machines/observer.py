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
from simulator.machines.machine_record import Slot, not_healthy_in_time
from simulator.machines.registry import Roster
from simulator.routing.model import MachineState

_FROM_OUTSIDE = "not by flysim"
_UNDER_WAY = frozenset({MachineState.STARTING, MachineState.DESTROYING, MachineState.DESTROYED})


class Witness:
    """The observer of all machines of a roster."""

    def __init__(self, roster: Roster, backend: Backend, clock: Clock) -> None:
        self._roster = roster
        self._backend = backend
        self._clock = clock

    def examine(self, slot: Slot) -> None:
        """A machine that has just started: watch its health, and settle its start by the first pass."""

        def report(healthy: bool, reason: str) -> None:
            self._roster.change(slot, healthy=healthy, reason=reason)
            slot.settle_start(None)

        slot.stop_examining()
        find_impostor = partial(self._backend.find_impostor, slot.spec.id)
        slot.monitor = HealthMonitor(
            slot.placement,
            slot.own_checks(),
            self._clock,
            report,
            find_impostor,
            lambda: slot.is_held,
            listens=slot.spec.listens,
        )
        slot.examining = asyncio.create_task(slot.monitor.run())

    def line_logged(self, machine_id: str, stream: str, line: str) -> None:
        if slot := self._roster.get(machine_id):
            self._roster.tell_line(slot, stream, line)

    def problem_met(self, words: str, machine_id: str | None = None) -> None:
        self._roster.tell_problem(words, self._roster.get(machine_id) if machine_id else None)

    def machine_exited(self, machine_id: str, ending: Exit) -> None:
        slot = self._roster.get(machine_id)
        if slot is None:
            return
        if slot.machine.state is not MachineState.DESTROYING:
            self._roster.change(slot, MachineState.STOPPED, reason=str(ending))
        slot.ending = ending
        slot.settle_start(ending)

    def machine_joined(self, spec: MachineSpec) -> None:
        if self._roster.get(spec.id) is None:
            self._roster.admit(spec)

    def machine_began(self, machine_id: str, placement: Placement) -> None:
        slot = self._roster.get(machine_id)
        if slot is None or slot.machine.state in _UNDER_WAY:  # Whoever starts it here goes on from there.
            return
        has_moved = slot.machine.state is MachineState.STARTED  # It runs on, elsewhere.
        outcome = slot.go_on() if has_moved else slot.begin_start()
        self._roster.change(
            slot, MachineState.STARTED, reason=f"started, {_FROM_OUTSIDE}", placement=placement
        )
        self.examine(slot)
        slot.doubting = asyncio.create_task(self._doubt(slot, outcome))

    async def _doubt(self, slot: Slot, outcome: asyncio.Future[Exit | None]) -> None:
        """Nobody here waits for it, so nobody would be told why it gets no requests."""
        await asyncio.wait([outcome], timeout=slot.spec.start_timeout_seconds)
        if not outcome.done() and slot.machine.state is MachineState.STARTED:
            listening = None
            with suppress(EnvironmentFault):
                listening = await self._backend.listening_addresses(slot.spec.id)
            self._roster.tell_problem(str(not_healthy_in_time(slot, listening)), slot)

    def machine_froze(self, machine_id: str) -> None:
        slot = self._roster.get(machine_id)
        if slot is not None and slot.machine.state is MachineState.STARTED:
            self._roster.change(slot, MachineState.SUSPENDED, reason=f"paused, {_FROM_OUTSIDE}")

    def machine_thawed(self, machine_id: str) -> None:
        slot = self._roster.get(machine_id)
        if slot is not None and slot.machine.state is MachineState.SUSPENDED:
            slot.begin_start()
            self._roster.change(slot, MachineState.STARTED, reason=f"resumed, {_FROM_OUTSIDE}")
            self.examine(slot)

    def machine_left(self, machine_id: str) -> None:
        slot = self._roster.get(machine_id)
        if slot is None or slot.machine.state is MachineState.DESTROYING:
            return
        slot.stop_examining()
        self._roster.dismiss(slot)
