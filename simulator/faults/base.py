"""The base of all faults: what one is, as it is written, and what it promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from simulator.config.base_model import TEXT_SCHEMA, StrictModel, Text, as_written, fault
from simulator.config.problems import describe, suggest
from simulator.errors import InputError
from simulator.faults.context import FaultContext
from simulator.routing.model import Machine

Undo = Callable[[], Awaitable[object]]


class Fault(StrictModel, ABC):
    """One fault. `key` is the word for its kind. Two that are written alike are the same."""

    key: ClassVar[str]
    is_state: ClassVar[bool] = False
    """It is a state of a machine that the fleet knows of: bringing the fleet back mends it, too."""

    short_schemas: ClassVar[tuple[dict[str, Any], ...]] = ()
    """For editors: how else than as a mapping it may be written."""

    @model_validator(mode="before")
    @classmethod
    def _open_short_form(cls, data: Any) -> Any:
        return data if isinstance(data, dict | Fault) else cls.open_short_form(data)

    @classmethod
    def open_short_form(cls, data: Any) -> Any:
        """What is meant by something that is no mapping."""
        raise fault(
            describe(data), expected=f"a mapping: {', '.join(f'{name}:' for name in cls.model_fields)}"
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        return {"anyOf": [*cls.short_schemas, schema]} if cls.short_schemas else schema

    @abstractmethod
    def words(self, context: FaultContext) -> str:
        """What is wrong, for a person. Raises InputError where it names what there is not."""

    @abstractmethod
    async def apply(self, context: FaultContext) -> Undo:
        """Bring it about. Returns what mends it, also when its machine is gone meanwhile. Raises SimulatorError."""

    @property
    def machine_key(self) -> str | None:
        """The machine that it names, if it names one."""
        return getattr(self, "machine", None)

    def at(self, machine: Machine) -> Fault:
        """The same fault, with its machine by id."""
        return self.model_copy(update={"machine": machine.id})


class FaultOfMachine(Fault):
    """One of a machine, which may be all that is said: `silent: dfw-1` means `silent: {machine: dfw-1}`."""

    short_schemas: ClassVar[tuple[dict[str, Any], ...]] = (TEXT_SCHEMA,)

    machine: Text

    @classmethod
    def open_short_form(cls, data: Any) -> Any:
        return {"machine": as_written(data)}


def name_of(context: FaultContext, key: str) -> str:
    return context.find_machine(key).name


def check_region(context: FaultContext, region: str, *, is_edge: bool = False) -> str:
    """Raises InputError for one in which there is no edge and, unless it has to be an edge, no machine."""
    known = dict.fromkeys(context.config.edges)
    if not is_edge:
        known |= dict.fromkeys(machine.region for machine in context.fleet.machines)
    if region not in known:
        kind = "edge" if is_edge else "region"
        raise InputError(
            f'no {kind} "{region}"{suggest(region, known)}', expected=f"one of {', '.join(known)}"
        )
    return region
