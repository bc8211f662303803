"""Step `wait_until`: retries a step until its expectations hold, or waits for machine states or log lines.

Its timeout is on the real clock, because machines run in real time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from simulator.config.base_model import Duration, StrictModel, Text, invalid
from simulator.config.duration import format_duration
from simulator.config.yaml_document import KeyPath
from simulator.results import Mismatch
from simulator.retry import retry_on
from simulator.routing.model import MachineState
from simulator.scenario.context import ScenarioContext, StepFailed
from simulator.scenario.expectations.schema import LogMatch
from simulator.scenario.steps.base import Step, resolve_placeholders, run_step

if TYPE_CHECKING:
    from simulator.scenario.steps.base import AnyStep

CONDITIONS = ("healthy", "unhealthy", "cordoned", "gone", *(state.value for state in MachineState))
_ATTEMPT_EVENT_TIMEOUT_SECONDS = 0.1
"""How long one attempt waits for a trace or a log line."""
_MAX_PAUSE_SECONDS = 0.5
_BACKOFF_FACTOR = 1.5
_OWN_KEYS = ("within", "every")


class Condition(StrictModel):
    """A condition on machines or logs, instead of a step."""

    machine: dict[Text, Text] | None = None
    """Machine -> one of `CONDITIONS`."""
    logs: list[LogMatch] | None = None
    """Log lines since the scenario began, in order."""

    @model_validator(mode="after")
    def _check_states(self) -> Condition:
        for name, state in (self.machine or {}).items():
            if state not in CONDITIONS:
                raise invalid(
                    f'unknown state "{state}" for {name}', expected=f"one of {', '.join(CONDITIONS)}"
                )
        return self


def is_condition(data: Any) -> bool:
    return isinstance(data, dict) and bool(data) and data.keys() <= set(Condition.model_fields)


class WaitUntilStep(Step):
    key: ClassVar[str] = "wait_until"
    is_composite: ClassVar[bool] = True

    wait_until: AnyStep | None = None
    condition: Condition | None = Field(default=None)
    within: Duration = 10.0
    every: Duration = 0.05
    """The first pause between two attempts. Pauses grow up to half a second."""

    @model_validator(mode="before")
    @classmethod
    def _separate_keys(cls, data: Any) -> Any:
        """Move `within:` and `every:` out of the mapping, and separate conditions from steps by their keys."""
        if not isinstance(data, dict) or "condition" in data or not isinstance(data.get(cls.key), dict):
            return data
        inner = dict(data[cls.key])
        outer = {key: value for key, value in data.items() if key != cls.key}
        for key in _OWN_KEYS:
            if key in inner:
                outer.setdefault(key, inner.pop(key))
        return outer | ({"condition": inner} if is_condition(inner) else {cls.key: inner})

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        condition = handler.resolve_ref_schema(schema["properties"].pop("condition")["anyOf"][0])
        own = {key: schema["properties"][key] for key in _OWN_KEYS}
        condition = condition | {"properties": condition["properties"] | own}
        schema["properties"][cls.key] = {"anyOf": [schema["properties"][cls.key], condition]}
        schema["required"] = [cls.key]
        return schema

    @property
    def title(self) -> str:
        if self.wait_until is not None:
            return f"wait until {self.wait_until.title}"
        machines = (self.condition.machine if self.condition else None) or {}
        return f"wait until {', '.join(f'{name} is {state}' for name, state in machines.items()) or 'a log line'}"

    def children(self) -> Iterator[tuple[KeyPath, Step]]:
        if self.wait_until is not None:
            yield ("wait_until",), self.wait_until

    async def run(self, context: ScenarioContext) -> None:
        previous_timeout, context.event_timeout_seconds = (
            context.event_timeout_seconds,
            _ATTEMPT_EVENT_TIMEOUT_SECONDS,
        )
        recorded = len(context.step_results)
        policy = retry_on(
            StepFailed,
            only_if=lambda failure: failure.exit_status == 1,
            interval_seconds=self.every,
            max_interval_seconds=max(_MAX_PAUSE_SECONDS, self.every),
            factor=_BACKOFF_FACTOR,
            timeout_seconds=self.within,
        )
        try:
            await policy(self._attempt, context, recorded)
        except StepFailed as failure:
            if failure.exit_status == 1 and not failure.problem:
                failure.problem = f"the condition did not hold within {format_duration(self.within)}"
            raise
        finally:
            context.event_timeout_seconds = previous_timeout

    async def _attempt(self, context: ScenarioContext, recorded: int) -> None:
        del context.step_results[recorded:]  # The report shows the last attempt only.
        if self.wait_until is not None:
            await run_step(self.wait_until, context)
        else:
            await self._check_condition(context)

    async def _check_condition(self, context: ScenarioContext) -> None:
        condition = (
            resolve_placeholders(self.condition, context.names.resolve) if self.condition else Condition()
        )
        found = [
            Mismatch(f"machine {name}", wanted, actual)
            for name, wanted in (condition.machine or {}).items()
            if (actual := _actual_state(context, name, wanted)) is not None
        ]
        context.step_started_at = 0.0
        found += await context.log_mismatches(condition.logs or ())
        if found:
            raise StepFailed(mismatches=tuple(found))


def _actual_state(context: ScenarioContext, name: str, wanted: str) -> str | None:
    """Return the actual state if it is not the wanted one, else None."""
    machine = context.simulator.fleet.find(context.names.get_machine(name).id)
    if machine is None:
        return None if wanted in ("gone", "destroyed") else "gone"
    matches = {
        "healthy": machine.is_candidate or (machine.state is MachineState.STARTED and machine.healthy),
        "unhealthy": not machine.healthy,
        "cordoned": machine.cordoned,
        "gone": machine.state is MachineState.DESTROYED,
    }
    if matches.get(wanted, machine.state.value == wanted):
        return None
    return f"{machine.state.value}, {'healthy' if machine.healthy else 'unhealthy'}"
