"""Step `heal`: ends injected faults: all, those of a kind or machine, or one fault. The end of a scenario heals all."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from simulator.config.base_model import Texts
from simulator.faults.registry import FaultChoice
from simulator.scenario.context import ScenarioContext
from simulator.scenario.steps.base import Step
from simulator.scenario.steps.inject import with_machine_id


class HealTarget(FaultChoice):
    """The faults to end: one fault in the form of the step `fault`, or names."""

    names: Texts | None = Field(default=None, min_length=1)
    """`all`, kinds of faults, or machines. Not a key in the file: it is the value of `heal:` itself."""

    @model_validator(mode="before")
    @classmethod
    def _wrap_names(cls, data: Any) -> Any:
        return data if isinstance(data, dict) else {"names": data}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        names = schema["properties"].pop("names")
        return {"anyOf": [names, schema]}


class HealStep(Step):
    key: ClassVar[str] = "heal"

    heal: HealTarget

    @property
    def title(self) -> str:
        return f"heal {', '.join(self.heal.names or [self.heal.chosen.key])}"

    async def run(self, context: ScenarioContext) -> None:
        if self.heal.names is None:
            await context.simulator.heal(with_machine_id(self.heal.chosen, context))
        for name in self.heal.names or ():
            machine = context.names.find_machine(name)
            await context.simulator.heal(machine.id if machine else name)
