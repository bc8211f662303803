"""Fault `stop`: stops the machine gracefully. Healing starts it again."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.base import MachineOnlyFault, Undo, machine_name, undo_by_starting
from simulator.faults.context import FaultContext


class Stop(MachineOnlyFault):
    key: ClassVar[str] = "stop"
    is_machine_state: ClassVar[bool] = True

    def describe(self, context: FaultContext) -> str:
        return f"{machine_name(context, self.machine)} is stopped"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        await context.stop_machine(machine.id)
        return undo_by_starting(context, machine.id)
