"""`stop`: the machine ends in good order, and is started again when it is healed."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.base import FaultOfMachine, Mend, name_of
from simulator.faults.context import Ground
from simulator.faults.state import start_again


class Stop(FaultOfMachine):
    key: ClassVar[str] = "stop"
    is_state: ClassVar[bool] = True

    def words(self, ground: Ground) -> str:
        return f"{name_of(ground, self.machine)} is stopped"

    async def apply(self, ground: Ground) -> Mend:
        machine = ground.find_machine(self.machine)
        await ground.stop_machine(machine.id)
        return start_again(ground, machine.id)
