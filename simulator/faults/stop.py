"""`stop`: the machine ends in good order, and is started again when it is healed."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.base import FaultOfMachine, Undo, name_of
from simulator.faults.context import FaultContext
from simulator.faults.state import start_again


class Stop(FaultOfMachine):
    key: ClassVar[str] = "stop"
    is_state: ClassVar[bool] = True

    def words(self, context: FaultContext) -> str:
        return f"{name_of(context, self.machine)} is stopped"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        await context.stop_machine(machine.id)
        return start_again(context, machine.id)
