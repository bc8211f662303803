"""Step `partition`: blocks all traffic between two sides; short for `fault: {partition: …}`."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.partition import Partition
from simulator.scenario.context import ScenarioContext
from simulator.scenario.steps.base import Step
from simulator.scenario.steps.inject import with_machine_id


class PartitionStep(Step):
    key: ClassVar[str] = "partition"

    partition: Partition

    @property
    def title(self) -> str:
        return f"partition {', '.join(self.partition.sides)}"

    async def run(self, context: ScenarioContext) -> None:
        await context.simulator.inject(with_machine_id(self.partition, context))
