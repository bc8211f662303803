"""`silent`: the machine accepts connections and never answers; the fleet finds out by its checks, if it has any."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from simulator.faults.base import FaultOfMachine, Undo, name_of
from simulator.faults.context import FaultContext


class Silent(FaultOfMachine):
    key: ClassVar[str] = "silent"

    def words(self, context: FaultContext) -> str:
        return f"{name_of(context, self.machine)} accepts connections and never answers"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        await context.supervisor.fault_injector.freeze(machine.id)
        return partial(context.supervisor.fault_injector.thaw, machine.id)
