"""How a machine whose state was changed is brought back: by starting it, if it is there and nobody did so before."""

from __future__ import annotations

from simulator.faults.base import Mend
from simulator.faults.context import Ground
from simulator.machines.lifecycle import AT_REST
from simulator.routing.model import MachineState


def start_again(ground: Ground, machine_id: str) -> Mend:
    async def mend() -> None:
        machine = ground.fleet.find(machine_id)
        if machine is not None and machine.state in AT_REST | {MachineState.SUSPENDED}:
            await ground.start_machine(machine_id)

    return mend
