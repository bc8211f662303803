"""What faults do to machines behind everyone's back: the fleet is told nothing, and has to find out.

All of it by real means: a machine is frozen as a whole, so its kernel still accepts connections for it.
"""

from __future__ import annotations

import asyncio

from simulator.cancellation import shielded
from simulator.clock import Clock
from simulator.errors import InputError
from simulator.machines.backend import Backend
from simulator.machines.lifecycle import require
from simulator.machines.machine_record import MachineRecord
from simulator.machines.registry import MachineRegistry
from simulator.routing.model import MachineState


class MachineFaultInjector:
    """The verbs that undo take a machine that is gone, or well, for granted, and do nothing then."""

    def __init__(self, registry: MachineRegistry, backend: Backend, clock: Clock) -> None:
        self._registry = registry
        self._backend = backend
        self._clock = clock

    async def freeze(self, machine_id: str) -> None:
        """It accepts connections and never answers, until it is thawed or launched anew."""
        record = self._find(machine_id, "frozen")
        async with record.lock:
            require("frozen", record.machine)
            try:
                await shielded(self._backend.suspend(machine_id))
            except asyncio.CancelledError:  # It is frozen nevertheless, and nobody would know.
                await self._resume(record)
                raise
            record.is_frozen = True

    async def thaw(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is not None and not record.is_external:
            async with record.lock:
                record.is_frozen = False
                await self._resume(record)

    def hold_starts(self, machine_id: str, seconds: float) -> None:
        """From now on it does nothing for so long after each launch, on the simulated clock."""
        self._find(machine_id, "held up").held_seconds = seconds

    async def release_starts(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is not None:
            record.held_seconds = 0.0
            if record.is_held:
                record.stop_holding()
                await self._wake(record)

    def _find(self, machine_id: str, deed: str) -> MachineRecord:
        record = self._registry.find_own(machine_id, deed)
        if not self._backend.freezes:
            raise InputError(
                f"machine {record.spec.name} cannot be {deed}: its backend has no way to freeze a machine",
                expected="another fault, such as kill, partition, latency or fail_first; or processes, or docker",
            )
        return record

    async def launched(self, record: MachineRecord) -> None:
        """It runs, for no longer than it takes to say so."""
        if record.held_seconds:
            try:
                await shielded(self._backend.suspend(record.spec.id))
            except BaseException:  # It is not to run otherwise than it was asked to.
                await shielded(self._backend.kill(record.spec.id))
                raise
            record.is_held = True
            record.holding = asyncio.create_task(self._hold(record), name=f"slow start of {record.spec.name}")

    async def isolate(self, machine_id: str) -> bool:
        """Cut it off from every network; False: this backend cannot."""
        record = self._registry.find(machine_id)
        return not record.is_external and await self._backend.isolate(machine_id)

    async def rejoin(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is not None and not record.is_external:
            await self._backend.rejoin(machine_id)

    async def close(self) -> None:
        """Nothing is held up any more."""
        for record in self._registry:
            if record.holding is not None:
                record.holding.cancel()
                await asyncio.gather(record.holding, return_exceptions=True)

    async def _hold(self, record: MachineRecord) -> None:
        await self._clock.elapse(record.held_seconds)
        record.is_held = False
        await self._wake(record)

    async def _wake(self, record: MachineRecord) -> None:
        async with record.lock:
            await self._resume(record)

    async def _resume(self, record: MachineRecord) -> None:
        """Unless there is another reason for it to do nothing."""
        is_asleep = record.machine.state in (MachineState.SUSPENDING, MachineState.SUSPENDED)
        if not (is_asleep or record.is_held or record.is_frozen):
            await shielded(self._backend.resume(record.spec.id))
