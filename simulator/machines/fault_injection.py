"""Fault injection for machines: freeze, slow start, network isolation.

The fleet is not informed: its health checks have to detect the fault. The backend injects each fault for real. A
frozen machine, for example, is suspended as a whole, so its kernel still accepts connections for it.
"""

from __future__ import annotations

import asyncio

from simulator.cancellation import shielded
from simulator.clock import Clock
from simulator.errors import InputError
from simulator.machines.backend import Backend
from simulator.machines.lifecycle import require_state
from simulator.machines.machine_record import MachineRecord
from simulator.machines.registry import MachineRegistry
from simulator.routing.model import MachineState


class MachineFaultInjector:
    """Injects faults into machines. Ending a fault does nothing if the machine is gone or has no such fault."""

    def __init__(self, registry: MachineRegistry, backend: Backend, clock: Clock) -> None:
        self._registry = registry
        self._backend = backend
        self._clock = clock

    async def freeze(self, machine_id: str) -> None:
        """The machine accepts connections and never responds, until `thaw` or its next launch."""
        record = self._find(machine_id, "frozen")
        async with record.lock:
            require_state("frozen", record.machine)
            try:
                await shielded(self._backend.suspend(machine_id))
            except asyncio.CancelledError:  # It may be frozen already, and no record would say so.
                await self._resume(record)
                raise
            record.is_frozen = True

    async def thaw(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is not None and not record.is_external:
            async with record.lock:
                record.is_frozen = False
                await self._resume(record)

    def delay_starts(self, machine_id: str, seconds: float) -> None:
        """Suspend the machine for `seconds` of simulated time after each launch."""
        self._find(machine_id, "delayed").start_delay_seconds = seconds

    async def end_start_delay(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is not None:
            record.start_delay_seconds = 0.0
            if record.is_start_delayed:
                record.stop_delay()
                await self._resume_locked(record)

    def _find(self, machine_id: str, action: str) -> MachineRecord:
        record = self._registry.find_own(machine_id, action)
        if not self._backend.can_suspend:
            raise InputError(
                f"machine {record.spec.name} cannot be {action}: its backend cannot freeze machines",
                expected="a fault such as kill, partition, latency or fail_first, or the backend process or docker",
            )
        return record

    async def delay_start(self, record: MachineRecord) -> None:
        """Suspend a machine that was just launched, if its starts are delayed."""
        if record.start_delay_seconds:
            try:
                await shielded(self._backend.suspend(record.spec.id))
            except BaseException:  # It must not run without the delay.
                await shielded(self._backend.kill(record.spec.id))
                raise
            record.is_start_delayed = True
            record.delay_task = asyncio.create_task(
                self._end_delay_later(record), name=f"slow start of {record.spec.name}"
            )

    async def isolate(self, machine_id: str) -> bool:
        """Disconnect the machine from every network; False if the backend cannot."""
        record = self._registry.find(machine_id)
        return not record.is_external and await self._backend.isolate(machine_id)

    async def rejoin(self, machine_id: str) -> None:
        record = self._registry.get(machine_id)
        if record is not None and not record.is_external:
            await self._backend.rejoin(machine_id)

    async def close(self) -> None:
        """Cancel all delayed starts."""
        for record in self._registry:
            if record.delay_task is not None:
                record.delay_task.cancel()
                await asyncio.gather(record.delay_task, return_exceptions=True)

    async def _end_delay_later(self, record: MachineRecord) -> None:
        await self._clock.elapse(record.start_delay_seconds)
        record.is_start_delayed = False
        await self._resume_locked(record)

    async def _resume_locked(self, record: MachineRecord) -> None:
        async with record.lock:
            await self._resume(record)

    async def _resume(self, record: MachineRecord) -> None:
        """Resume the machine, unless it is suspended or another fault still stops it."""
        is_asleep = record.machine.state in (MachineState.SUSPENDING, MachineState.SUSPENDED)
        if not (is_asleep or record.is_start_delayed or record.is_frozen):
            await shielded(self._backend.resume(record.spec.id))
