"""`silent`: the machine accepts connections and never answers; the fleet finds out by its checks, if it has any."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from simulator.faults.base import FaultOfMachine, Mend, name_of
from simulator.faults.context import Ground


class Silent(FaultOfMachine):
    key: ClassVar[str] = "silent"

    def words(self, ground: Ground) -> str:
        return f"{name_of(ground, self.machine)} accepts connections and never answers"

    async def apply(self, ground: Ground) -> Mend:
        machine = ground.find_machine(self.machine)
        await ground.room.sabotage.freeze(machine.id)
        return partial(ground.room.sabotage.thaw, machine.id)
