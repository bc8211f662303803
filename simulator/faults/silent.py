"""Fault `silent`: the machine accepts connections but never responds; only its health checks can detect it."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from simulator.faults.base import MachineOnlyFault, Undo, machine_name
from simulator.faults.context import FaultContext


class Silent(MachineOnlyFault):
    key: ClassVar[str] = "silent"

    def describe(self, context: FaultContext) -> str:
        return f"{machine_name(context, self.machine)} accepts connections but never responds"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        await context.supervisor.fault_injector.freeze(machine.id)
        return partial(context.supervisor.fault_injector.thaw, machine.id)
