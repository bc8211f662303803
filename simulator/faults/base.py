"""Base classes of faults, and what several faults share: region pairs, network conditions, machine restarts.

A fault is a frozen model of its mapping in a scenario file. `apply` returns the function that undoes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from simulator.config.base_model import TEXT_SCHEMA, StrictModel, Text, as_string, invalid
from simulator.config.problems import describe, suggest
from simulator.errors import InputError
from simulator.faults.context import FaultContext
from simulator.machines.lifecycle import AT_REST
from simulator.network_conditions import Condition
from simulator.routing.model import Machine, MachineState

Undo = Callable[[], Awaitable[object]]


class Fault(StrictModel, ABC):
    """One fault. Faults with equal fields are equal."""

    key: ClassVar[str]
    """Name of its kind in scenario files."""
    is_machine_state: ClassVar[bool] = False
    """Whether it is a machine state of the fleet, so that a reset of the fleet undoes it too."""

    short_schemas: ClassVar[tuple[dict[str, Any], ...]] = ()
    """JSON Schemas of its short forms, which are not mappings."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, data: Any) -> Any:
        return data if isinstance(data, dict | Fault) else cls.expand_short_form(data)

    @classmethod
    def expand_short_form(cls, data: Any) -> Any:
        """Return the mapping for a value that is not a mapping, or raise a validation error."""
        raise invalid(
            describe(data), expected=f"a mapping with {', '.join(f'{name}:' for name in cls.model_fields)}"
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        return {"anyOf": [*cls.short_schemas, schema]} if cls.short_schemas else schema

    @abstractmethod
    def describe(self, context: FaultContext) -> str:
        """One-line description for logs. Raises InputError if it names an unknown machine, region or edge."""

    @abstractmethod
    async def apply(self, context: FaultContext) -> Undo:
        """Apply the fault. Raises SimulatorError.

        The returned function undoes it and must also work after the machine was destroyed.
        """

    @property
    def machine_key(self) -> str | None:
        """Id or name of the fault's machine, if it has one."""
        return getattr(self, "machine", None)

    def at(self, machine: Machine) -> Fault:
        """A copy with the id of `machine` in place of its name."""
        return self.model_copy(update={"machine": machine.id})


class MachineOnlyFault(Fault):
    """A fault of one machine. Short form: `silent: dfw-1` means `silent: {machine: dfw-1}`."""

    short_schemas: ClassVar[tuple[dict[str, Any], ...]] = (TEXT_SCHEMA,)

    machine: Text

    @classmethod
    def expand_short_form(cls, data: Any) -> Any:
        return {"machine": as_string(data)}


PAIR_SCHEMA = {"type": "array", "items": TEXT_SCHEMA, "minItems": 2, "maxItems": 2}


def _check_pair(regions: list[str]) -> list[str]:
    if len(regions) != 2:
        raise invalid(describe(regions), expected="two regions, such as [ams, dfw]")
    return regions


RegionPair = Annotated[list[Text], AfterValidator(_check_pair), WithJsonSchema(PAIR_SCHEMA)]
"""A list of two regions."""


def add_conditions(context: FaultContext, *conditions: Condition) -> Undo:
    """Add conditions to the network. Returns the function that removes them."""
    remove = context.network.add(*conditions)

    async def undo() -> None:
        remove()

    return undo


def undo_by_starting(context: FaultContext, machine_id: str) -> Undo:
    """Returns the undo of a machine state: start the machine, unless it runs already or was destroyed."""

    async def undo() -> None:
        machine = context.fleet.find(machine_id)
        if machine is not None and machine.state in AT_REST | {MachineState.SUSPENDED}:
            await context.start_machine(machine_id)

    return undo


def machine_name(context: FaultContext, key: str) -> str:
    return context.find_machine(key).name


def check_region(context: FaultContext, region: str, *, is_edge: bool = False) -> str:
    """Returns `region`. Raises InputError if it has no edge and, unless `is_edge`, no machine either."""
    known = dict.fromkeys(context.config.edges)
    if not is_edge:
        known |= dict.fromkeys(machine.region for machine in context.fleet.machines)
    if region not in known:
        kind = "edge" if is_edge else "region"
        raise InputError(
            f'unknown {kind} "{region}"{suggest(region, known)}', expected=f"one of {', '.join(known)}"
        )
    return region
