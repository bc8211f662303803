"""Fault `kill`: kills the machine at once, as in a crash. Healing starts it again."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.base import MachineOnlyFault, Undo, machine_name, undo_by_starting
from simulator.faults.context import FaultContext


class Kill(MachineOnlyFault):
    key: ClassVar[str] = "kill"
    is_machine_state: ClassVar[bool] = True

    def describe(self, context: FaultContext) -> str:
        return f"{machine_name(context, self.machine)} is killed"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        await context.kill_machine(machine.id)
        return undo_by_starting(context, machine.id)
