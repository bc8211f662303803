"""Step `repeat`: runs steps several times. `{round}` is the number of the round, from 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from simulator.config.yaml_document import KeyPath
from simulator.scenario.context import ScenarioContext
from simulator.scenario.steps.base import Step, run_step

if TYPE_CHECKING:
    from simulator.scenario.steps.base import Steps

ROUND = "round"


class RepeatStep(Step):
    key: ClassVar[str] = "repeat"
    inner_keys: ClassVar[tuple[str, ...]] = ("times",)
    is_composite: ClassVar[bool] = True

    repeat: int = Field(ge=1, le=100_000)
    steps: Steps

    @property
    def title(self) -> str:
        return f"repeat {self.repeat} times"

    def children(self) -> Iterator[tuple[KeyPath, Step]]:
        for index, step in enumerate(self.steps):
            yield ("steps", index), step

    async def run(self, context: ScenarioContext) -> None:
        for number in range(1, self.repeat + 1):
            context.names.captured[ROUND] = str(number)
            for step in self.steps:
                await run_step(step, context)
