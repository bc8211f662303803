"""`pause`: the machine is suspended, as by its owner: the fleet is told. See `silent` for one that is not."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.base import FaultOfMachine, Mend, name_of
from simulator.faults.context import Ground
from simulator.faults.state import start_again


class Pause(FaultOfMachine):
    key: ClassVar[str] = "pause"
    is_state: ClassVar[bool] = True

    def words(self, ground: Ground) -> str:
        return f"{name_of(ground, self.machine)} is suspended"

    async def apply(self, ground: Ground) -> Mend:
        machine = ground.find_machine(self.machine)
        await ground.suspend_machine(machine.id)
        return start_again(ground, machine.id)
