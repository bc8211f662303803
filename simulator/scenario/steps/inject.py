"""Step `fault`: injects a fault that lasts until it is healed, or until the end of the scenario."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.base import Fault
from simulator.faults.registry import FaultChoice
from simulator.scenario.context import ScenarioContext
from simulator.scenario.steps.base import Step


class FaultStep(Step):
    key: ClassVar[str] = "fault"

    fault: FaultChoice

    @property
    def title(self) -> str:
        return f"fault {self.fault.chosen.key}"

    async def run(self, context: ScenarioContext) -> None:
        await context.simulator.inject(with_machine_id(self.fault.chosen, context))


def with_machine_id(fault: Fault, context: ScenarioContext) -> Fault:
    """Replace the machine of a fault with its id: its name may be known only within the scenario."""
    key = fault.machine_key
    return fault if key is None else fault.at(context.names.get_machine(key))
