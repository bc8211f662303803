"""What faults do to machines behind everyone's back: the fleet is told nothing, and has to find out.

All of it by real means: a machine is frozen as a whole, so its kernel still accepts connections for it.
"""

from __future__ import annotations

import asyncio

from simulator.cancellation import undisturbed
from simulator.clock import Clock
from simulator.errors import InputError
from simulator.machines.backend import Backend
from simulator.machines.lifecycle import require
from simulator.machines.machine_record import Slot
from simulator.machines.registry import Roster
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
                await self._resume(slot)
                raise
            slot.is_frozen = True

    async def thaw(self, machine_id: str) -> None:
        slot = self._roster.get(machine_id)
        if slot is not None and not slot.is_external:
            async with slot.lock:
                slot.is_frozen = False
                await self._resume(slot)

    def hold_starts(self, machine_id: str, seconds: float) -> None:
        """From now on it does nothing for so long after each launch, on the simulated clock."""
        self._find(machine_id, "held up").held_seconds = seconds

    async def release_starts(self, machine_id: str) -> None:
        slot = self._roster.get(machine_id)
        if slot is not None:
            slot.held_seconds = 0.0
            if slot.is_held:
                slot.stop_holding()
                await self._wake(slot)

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
        if slot.held_seconds:
            try:
                await undisturbed(self._backend.suspend(slot.spec.id))
            except BaseException:  # It is not to run otherwise than it was asked to.
                await undisturbed(self._backend.kill(slot.spec.id))
                raise
            slot.is_held = True
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
        slot.is_held = False
        await self._wake(slot)

    async def _wake(self, slot: Slot) -> None:
        async with slot.lock:
            await self._resume(slot)

    async def _resume(self, slot: Slot) -> None:
        """Unless there is another reason for it to do nothing."""
        is_asleep = slot.machine.state in (MachineState.SUSPENDING, MachineState.SUSPENDED)
        if not (is_asleep or slot.is_held or slot.is_frozen):
            await undisturbed(self._backend.resume(slot.spec.id))
