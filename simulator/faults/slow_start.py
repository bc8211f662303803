"""Fault `slow_start`: delays every following start of the machine; until then it does not listen, and checks fail."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from simulator.config.base_model import Duration
from simulator.config.duration import format_duration
from simulator.faults.base import MachineOnlyFault, Undo, machine_name
from simulator.faults.context import FaultContext


class SlowStart(MachineOnlyFault):
    key: ClassVar[str] = "slow_start"

    by: Duration
    """Delay on the simulated clock. It is never skipped, because the machine is a real process."""

    def describe(self, context: FaultContext) -> str:
        return f"{machine_name(context, self.machine)} starts {format_duration(self.by)} late"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        context.supervisor.fault_injector.delay_starts(machine.id, self.by)
        return partial(context.supervisor.fault_injector.end_start_delay, machine.id)
