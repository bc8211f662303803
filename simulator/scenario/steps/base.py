"""Base class of all steps, with placeholders, location in the file, and `run_step`."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import BaseModel, GetJsonSchemaHandler, PrivateAttr, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from simulator.config.base_model import StrictModel, invalid
from simulator.config.yaml_document import KeyPath
from simulator.crash_report import CRASHED, describe_crash
from simulator.errors import SimulatorError, WrongStateError
from simulator.results import SourceLocation, StepResult
from simulator.scenario.context import ScenarioContext, StepFailed
from simulator.scenario.names import Lookup, render_all


class Step(StrictModel, ABC):
    """One step of a scenario file. `key` is the YAML key of its kind."""

    key: ClassVar[str]
    inner_keys: ClassVar[tuple[str, ...]] = ()
    """Names for the value of `key` in the mapping form (`request: {path: /}`); empty if there is no such form."""
    is_composite: ClassVar[bool] = False
    """Whether it consists of other steps, which resolve their own placeholders and report their own failures."""

    _location: SourceLocation | None = PrivateAttr(default=None)

    @property
    def location(self) -> SourceLocation | None:
        return self._location

    def set_location(self, location: SourceLocation) -> None:
        self._location = location

    @property
    @abstractmethod
    def title(self) -> str:
        """A short description for reports, such as `GET /`."""

    @abstractmethod
    async def run(self, context: ScenarioContext) -> None:
        """Raises StepFailed if an expectation does not hold, SimulatorError for wrong input or a broken environment."""

    def children(self) -> Iterator[tuple[KeyPath, Step]]:
        """The steps inside this one, each with its key path relative to this one."""
        return iter(())

    @model_validator(mode="before")
    @classmethod
    def _flatten_inner_mapping(cls, data: Any) -> Any:
        """Flatten the mapping form: `request: {path: /x, edge: ams}` becomes `request: /x` and `edge: ams`."""
        if not cls.inner_keys or not isinstance(data, dict) or not isinstance(data.get(cls.key), dict):
            return data
        inner = {(cls.key if key in cls.inner_keys else key): value for key, value in data[cls.key].items()}
        outer = {key: value for key, value in data.items() if key != cls.key}
        twice = sorted(inner.keys() & outer.keys())
        if twice:
            raise invalid(
                f'"{twice[0]}:" both inside "{cls.key}:" and next to it',
                expected=f'"{twice[0]}:" in one of the two places',
            )
        values = [key for key in (cls.key, *cls.inner_keys) if key in data[cls.key]]
        if cls.key in values or len(values) > 1:
            given = " and ".join(f'"{key}:"' for key in values)
            raise invalid(f'{given} inside "{cls.key}:"', expected=f'"{cls.inner_keys[0]}:" only')
        return outer | inner

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.inner_keys:
            _allow_inner_form(schema, cls.key, cls.inner_keys)
        return schema


def _allow_inner_form(schema: JsonSchemaValue, key: str, inner_keys: tuple[str, ...]) -> None:
    """Add the mapping form, such as `request: {path: /x, edge: ams}`, to the JSON Schema."""
    main = schema["properties"][key]
    inner = {name: each for name, each in schema["properties"].items() if name != key}
    inner |= dict.fromkeys(inner_keys, main)
    mapping = {"type": "object", "properties": inner, "additionalProperties": False}
    schema["properties"][key] = {"anyOf": [main, mapping]}
    schema["required"] = [key]


if TYPE_CHECKING:
    # Types of the steps inside composite steps. For pydantic, `steps/__init__.py` defines them when it knows all kinds.
    AnyStep = Step
    Steps = list[Step]


async def run_step(step: Step, context: ScenarioContext) -> None:
    """Run one step and record its result. Raises StepFailed with the location of the step."""
    started = time.monotonic()
    context.step_started_at, context.response = context.simulator.clock.now(), None
    try:
        if not step.is_composite:
            step = resolve_placeholders(step, context.names.resolve)
        await step.run(context)
    except StepFailed as failure:
        _set_location(failure, step)
        raise
    except SimulatorError as error:
        is_input_error = error.exit_status == 2 and not isinstance(error, WrongStateError)
        failed = StepFailed(str(error), response=context.response, exit_status=2 if is_input_error else 1)
        _set_location(failed, step)
        raise failed from error
    except Exception as error:
        failed = StepFailed(describe_crash(error), response=context.response, exit_status=CRASHED)
        _set_location(failed, step)
        raise failed from error
    finally:
        if not step.is_composite:
            seconds = time.monotonic() - started
            context.step_results.append(StepResult(step.title, step.location, seconds, context.response))


def _set_location(failure: StepFailed, step: Step) -> None:
    """Set the location, unless a step inside this one has set it."""
    if failure.location is None:
        failure.location, failure.title = step.location, step.title


Model = TypeVar("Model", bound=BaseModel)


def resolve_placeholders(model: Model, lookup: Lookup) -> Model:
    """Return a copy of a step, or of a part of one, with all placeholders resolved."""
    filled: Model = _resolve(model, lookup)
    return filled


def _resolve(value: Any, lookup: Lookup) -> Any:
    if isinstance(value, BaseModel):
        changed = {}
        for name in value.model_fields_set:
            before = getattr(value, name)
            after = _resolve(before, lookup)
            if after is not before and after != before:
                changed[name] = after
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, list):
        return [_resolve(item, lookup) for item in value]
    if isinstance(value, dict):
        return {_resolve(key, lookup): _resolve(item, lookup) for key, item in value.items()}
    return render_all(value, lookup)
