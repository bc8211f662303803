"""`partition`: nothing gets through; the same as `fault: {partition: …}`."""

from __future__ import annotations

from typing import ClassVar

from simulator.faults.partition import Partition
from simulator.scenario.context import ScenarioContext
from simulator.scenario.steps.base import Step
from simulator.scenario.steps.inject import as_named


class PartitionStep(Step):
    key: ClassVar[str] = "partition"

    partition: Partition

    @property
    def title(self) -> str:
        return f"partition {', '.join(self.partition.sides)}"

    async def run(self, context: ScenarioContext) -> None:
        await context.simulator.inject(as_named(self.partition, context))
