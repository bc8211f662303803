"""`slow_start`: from its next start on, the machine does nothing at first; nothing listens, and its checks fail."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from simulator.config.base_model import Duration
from simulator.config.duration import format_duration
from simulator.faults.base import FaultOfMachine, Undo, name_of
from simulator.faults.context import FaultContext


class SlowStart(FaultOfMachine):
    key: ClassVar[str] = "slow_start"

    by: Duration
    """On the simulated clock, but never skipped: the machine is real."""

    def words(self, context: FaultContext) -> str:
        return f"{name_of(context, self.machine)} does nothing for {format_duration(self.by)} when it starts"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        context.supervisor.fault_injector.hold_starts(machine.id, self.by)
        return partial(context.supervisor.fault_injector.release_starts, machine.id)
