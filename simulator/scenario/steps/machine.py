"""Step `machine`: starts, stops, kills, suspends, destroys, cordons or clones machines."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from simulator.config.base_model import StrictModel, Text, Texts, invalid
from simulator.scenario.context import ScenarioContext
from simulator.scenario.simulator_protocol import RunningSimulator
from simulator.scenario.steps.base import Step

ACTIONS = ("start", "stop", "kill", "suspend", "destroy", "cordon", "uncordon", "clone")


class MachineAction(StrictModel):
    """One action with its machines, by name or id."""

    start: Texts | None = None
    stop: Texts | None = None
    kill: Texts | None = None
    suspend: Texts | None = None
    destroy: Texts | None = None
    cordon: Texts | None = None
    uncordon: Texts | None = None
    clone: Text | None = None
    region: Text | None = None
    """Region of the clone. Default: the region of the original."""
    as_: Text | None = Field(default=None, alias="as")
    """Name of the clone in this scenario."""

    @model_validator(mode="after")
    def _check_exactly_one_action(self) -> MachineAction:
        given = [kind for kind in ACTIONS if kind in self.model_fields_set]
        if len(given) != 1:
            read = " and ".join(f'"{kind}:"' for kind in given) or "no action"
            raise invalid(f"{read} in one step", expected=f"one of {', '.join(ACTIONS)}")
        if self.clone is None and self.model_fields_set & {"region", "as_"}:
            raise invalid(f'"region:" or "as:" with "{given[0]}:"', expected='these keys with "clone:" only')
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in ACTIONS if kind in self.model_fields_set)

    @property
    def machines(self) -> list[str]:
        named = getattr(self, self.kind)
        return [named] if isinstance(named, str) else list(named)


class MachineStep(Step):
    key: ClassVar[str] = "machine"

    machine: MachineAction

    @property
    def title(self) -> str:
        return f"machine {self.machine.kind} {', '.join(self.machine.machines)}"

    async def run(self, context: ScenarioContext) -> None:
        action = self.machine
        ids = [context.names.get_machine(key).id for key in action.machines]
        if action.clone is not None:
            clone = await context.simulator.clone_machine(ids[0], region=action.region)
            context.names.add_alias(action.as_ or clone.name, clone)
            return
        for machine_id in ids:
            await _act(context.simulator, action.kind, machine_id)


async def _act(simulator: RunningSimulator, kind: str, machine_id: str) -> None:
    methods = {
        "start": simulator.start_machine,
        "stop": simulator.stop_machine,
        "kill": simulator.kill_machine,
        "suspend": simulator.suspend_machine,
        "destroy": simulator.destroy_machine,
        "cordon": simulator.cordon,
        "uncordon": simulator.uncordon,
    }
    await methods[kind](machine_id)
