"""`kill`: the machine is gone at once, as after a crash, and is started again when it is healed."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.base import FaultOfMachine, Mend, name_of
from simulator.faults.context import Ground
from simulator.faults.state import start_again


class Kill(FaultOfMachine):
    key: ClassVar[str] = "kill"
    is_state: ClassVar[bool] = True

    def words(self, ground: Ground) -> str:
        return f"{name_of(ground, self.machine)} is killed"

    async def apply(self, ground: Ground) -> Mend:
        machine = ground.find_machine(self.machine)
        await ground.kill_machine(machine.id)
        return start_again(ground, machine.id)
