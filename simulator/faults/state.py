"""How a machine whose state was changed is brought back: by starting it, if it is there and nobody did so before."""

from __future__ import annotations

from simulator.faults.base import Undo
from simulator.faults.context import FaultContext
from simulator.machines.lifecycle import AT_REST
from simulator.routing.model import MachineState


def start_again(context: FaultContext, machine_id: str) -> Undo:
    async def undo() -> None:
        machine = context.fleet.find(machine_id)
        if machine is not None and machine.state in AT_REST | {MachineState.SUSPENDED}:
            await context.start_machine(machine_id)

    return undo
