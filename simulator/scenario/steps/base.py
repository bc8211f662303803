"""The base of all steps: where one stands, how its placeholders are filled in, and how it is played."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import BaseModel, GetJsonSchemaHandler, PrivateAttr, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from simulator.config.base_model import StrictModel, fault
from simulator.config.yaml_document import KeyPath
from simulator.crash_report import CRASHED, describe_crash
from simulator.errors import SimulatorError, WrongStateError
from simulator.results import SourceLocation, StepResult
from simulator.scenario.context import ScenarioContext
from simulator.scenario.failure import StepFailed
from simulator.scenario.placeholders import Lookup, render_all


class Step(StrictModel, ABC):
    """One step, as it is written in the file. `key` is the word that tells its kind."""

    key: ClassVar[str]
    inner_keys: ClassVar[tuple[str, ...]] = ()
    """What the value of `key` is called where a mapping stands in its place; empty where none may."""
    is_composite: ClassVar[bool] = False
    """It is made of other steps, which fill in their own placeholders and fail in their own place."""

    _location: SourceLocation | None = PrivateAttr(default=None)

    @property
    def location(self) -> SourceLocation | None:
        return self._location

    def set_location(self, location: SourceLocation) -> None:
        self._location = location

    @property
    @abstractmethod
    def title(self) -> str:
        """What it does, for a person, in a few words."""

    @abstractmethod
    async def run(self, context: ScenarioContext) -> None:
        """Raises StepFailed, or SimulatorError for what a person has to mend."""

    def children(self) -> Iterator[tuple[KeyPath, Step]]:
        """The steps within this one, each with its place relative to this."""
        return iter(())

    @model_validator(mode="before")
    @classmethod
    def _open_inner_mapping(cls, data: Any) -> Any:
        """`request: {path: /x, edge: ams}` means the same as `request: /x` with `edge: ams` beside it."""
        if not cls.inner_keys or not isinstance(data, dict) or not isinstance(data.get(cls.key), dict):
            return data
        inner = {(cls.key if key in cls.inner_keys else key): value for key, value in data[cls.key].items()}
        outer = {key: value for key, value in data.items() if key != cls.key}
        twice = sorted(inner.keys() & outer.keys())
        if twice:
            raise fault(
                f'"{twice[0]}:" both within "{cls.key}:" and beside it', expected="it in one of the two"
            )
        if cls.key in data[cls.key] or len(inner) < len(data[cls.key]):
            raise fault(
                f'two names for one thing in "{cls.key}:"', expected=f'"{cls.inner_keys[0]}:" there, once'
            )
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
    """Editors are told of `request: {path: /x, edge: ams}` too."""
    main = schema["properties"][key]
    inner = {name: each for name, each in schema["properties"].items() if name != key}
    inner |= dict.fromkeys(inner_keys, main)
    mapping = {"type": "object", "properties": inner, "additionalProperties": False}
    schema["properties"][key] = {"anyOf": [main, mapping]}
    schema["required"] = [key]


if TYPE_CHECKING:
    # What composite steps are made of. The registry in `steps` gives these names their meaning for pydantic, once it
    # knows every kind.
    AnyStep = Step
    Steps = list[Step]


async def run_step(step: Step, context: ScenarioContext) -> None:
    """Play one step and record it. Raises StepFailed with the step's place on it."""
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
        is_input_fault = error.exit_status == 2 and not isinstance(error, WrongStateError)
        failed = StepFailed(str(error), response=context.response, exit_status=2 if is_input_fault else 1)
        _set_location(failed, step)
        raise failed from error
    except Exception as error:
        failed = StepFailed(describe_crash(error), response=context.response, exit_status=CRASHED)
        _set_location(failed, step)
        raise failed from error
    finally:
        if not step.is_composite:
            seconds = time.monotonic() - started
            context.records.append(StepResult(step.title, step.location, seconds, context.response))


def _set_location(failure: StepFailed, step: Step) -> None:
    """The innermost step that failed is the one to name."""
    if failure.location is None:
        failure.location, failure.title = step.location, step.title


Model = TypeVar("Model", bound=BaseModel)


def resolve_placeholders(model: Model, lookup: Lookup) -> Model:
    """A step, or a part of one, with values in the place of all its placeholders."""
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
