"""Fault `pause`: suspends the machine and informs the fleet. For a hang without that, see `silent`."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.base import MachineOnlyFault, Undo, machine_name, undo_by_starting
from simulator.faults.context import FaultContext


class Pause(MachineOnlyFault):
    key: ClassVar[str] = "pause"
    is_machine_state: ClassVar[bool] = True

    def describe(self, context: FaultContext) -> str:
        return f"{machine_name(context, self.machine)} is suspended"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        await context.suspend_machine(machine.id)
        return undo_by_starting(context, machine.id)
