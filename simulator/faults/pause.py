"""`pause`: the machine is suspended, as by its owner: the fleet is told. See `silent` for one that is not."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.base import FaultOfMachine, Undo, name_of
from simulator.faults.context import FaultContext
from simulator.faults.state import start_again


class Pause(FaultOfMachine):
    key: ClassVar[str] = "pause"
    is_state: ClassVar[bool] = True

    def words(self, context: FaultContext) -> str:
        return f"{name_of(context, self.machine)} is suspended"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        await context.suspend_machine(machine.id)
        return start_again(context, machine.id)
