"""What faults do to machines behind everyone's back: the fleet is told nothing, and has to find out.

All of it by real means: a machine is frozen as a whole, so its kernel still accepts connections for it.
"""

from __future__ import annotations

import asyncio

from simulator.clock import Clock
from simulator.errors import InputError
from simulator.lifetime import undisturbed
from simulator.machines.backend import Backend
from simulator.machines.lifecycle import require
from simulator.machines.roster import Roster
from simulator.machines.slot import Slot
from simulator.routing.model import MachineState


class Sabotage:
    """The verbs that undo take a machine that is gone, or well, for granted, and do nothing then."""

    def __init__(self, roster: Roster, backend: Backend, clock: Clock) -> None:
        self._roster = roster
        self._backend = backend
        self._clock = clock

    async def freeze(self, machine_id: str) -> None:
        """It accepts connections and never answers, until it is thawed or launched anew."""
        slot = self._find(machine_id, "frozen")
        async with slot.lock:
            require("frozen", slot.machine)
            try:
                await undisturbed(self._backend.suspend(machine_id))
            except asyncio.CancelledError:  # It is frozen nevertheless, and nobody would know.
                await undisturbed(self._backend.resume(machine_id))
                raise

    async def thaw(self, machine_id: str) -> None:
        slot = self._roster.get(machine_id)
        if slot is None or slot.is_external:
            return
        async with slot.lock:
            if slot.machine.state not in (MachineState.SUSPENDING, MachineState.SUSPENDED):
                await self._backend.resume(machine_id)

    def hold_starts(self, machine_id: str, seconds: float) -> None:
        """From now on it does nothing for so long after each launch, on the simulated clock."""
        self._find(machine_id, "held up").held_seconds = seconds

    async def release_starts(self, machine_id: str) -> None:
        slot = self._roster.get(machine_id)
        if slot is not None:
            slot.held_seconds = 0.0
            await self._let_go(slot)

    def _find(self, machine_id: str, deed: str) -> Slot:
        slot = self._roster.find_own(machine_id, deed)
        if not self._backend.freezes:
            raise InputError(
                f"machine {slot.spec.name} cannot be {deed}: its backend has no way to freeze a machine",
                expected="another fault, such as kill, partition, latency or fail_first; or processes, or docker",
            )
        return slot

    async def launched(self, slot: Slot) -> None:
        """It runs, for no longer than it takes to say so."""
        if slot.holding is not None:
            slot.holding.cancel()
            slot.holding = None
        if slot.held_seconds:
            try:
                await undisturbed(self._backend.suspend(slot.spec.id))
            except BaseException:  # It is not to run otherwise than it was asked to.
                await undisturbed(self._backend.kill(slot.spec.id))
                raise
            slot.holding = asyncio.create_task(self._hold(slot), name=f"slow start of {slot.spec.name}")

    async def isolate(self, machine_id: str) -> bool:
        """Cut it off from every network; False: this backend cannot."""
        slot = self._roster.find(machine_id)
        return not slot.is_external and await self._backend.isolate(machine_id)

    async def rejoin(self, machine_id: str) -> None:
        slot = self._roster.get(machine_id)
        if slot is not None and not slot.is_external:
            await self._backend.rejoin(machine_id)

    async def close(self) -> None:
        """Nothing is held up any more."""
        for slot in self._roster:
            if slot.holding is not None:
                slot.holding.cancel()
                await asyncio.gather(slot.holding, return_exceptions=True)

    async def _hold(self, slot: Slot) -> None:
        await self._clock.elapse(slot.held_seconds)
        await self.thaw(slot.spec.id)

    async def _let_go(self, slot: Slot) -> None:
        if slot.holding is not None and slot.is_held:
            slot.holding.cancel()
            await self.thaw(slot.spec.id)
