"""Step `advance`: moves the simulated clock forward.

Cookies expire and the proxy waits on that clock. Machines run in real time.
"""

from __future__ import annotations

from typing import ClassVar

from simulator.config.base_model import Duration
from simulator.config.duration import format_duration
from simulator.scenario.context import ScenarioContext
from simulator.scenario.steps.base import Step


class AdvanceStep(Step):
    key: ClassVar[str] = "advance"

    advance: Duration

    @property
    def title(self) -> str:
        return f"advance {format_duration(self.advance)}"

    async def run(self, context: ScenarioContext) -> None:
        context.simulator.clock.advance(self.advance)
