"""Step `parallel`: runs branches concurrently, each a step or a list of steps, until all have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, Field

from simulator.config.base_model import OneOrMore, as_list
from simulator.config.yaml_document import KeyPath
from simulator.scenario.context import ScenarioContext, StepFailed
from simulator.scenario.steps.base import Step, run_step

if TYPE_CHECKING:
    from simulator.scenario.steps.base import Steps


class ParallelStep(Step):
    key: ClassVar[str] = "parallel"
    is_composite: ClassVar[bool] = True

    parallel: list[Annotated[Steps, BeforeValidator(as_list), OneOrMore()]] = Field(min_length=1)

    @property
    def title(self) -> str:
        return f"{len(self.parallel)} branches in parallel"

    def children(self) -> Iterator[tuple[KeyPath, Step]]:
        for number, branch in enumerate(self.parallel):
            for index, step in enumerate(branch):
                yield ("parallel", number, index), step

    async def run(self, context: ScenarioContext) -> None:
        """Wait for all branches, then raise the failure with the highest exit status; among equals, the first."""
        contexts = [context.fork() for _ in self.parallel]
        branches = map(_run_branch, self.parallel, contexts)
        try:
            ends = await asyncio.gather(*branches, return_exceptions=True)
        finally:
            context.step_results += [record for branch in contexts for record in branch.step_results]
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, StepFailed):
                raise end
        failures = [end for end in ends if isinstance(end, StepFailed)]
        if failures:
            raise max(failures, key=lambda failure: failure.exit_status)


async def _run_branch(branch: list[Step], context: ScenarioContext) -> None:
    for step in branch:
        await run_step(step, context)
