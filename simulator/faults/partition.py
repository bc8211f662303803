"""Fault `partition`: drops all traffic between two regions, from an edge to a region or machine, or to a machine.

If the backend can isolate a machine from its network, it does; the proxy cuts everything else. New connections time
out. Open connections stall and continue after healing.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import model_validator

from simulator.config.base_model import TEXT_SCHEMA, Text, as_string, invalid
from simulator.faults.base import (
    PAIR_SCHEMA,
    Fault,
    RegionPair,
    Undo,
    add_conditions,
    check_region,
    machine_name,
)
from simulator.faults.context import FaultContext
from simulator.network_conditions import Cut

_FORMS = ("between",), ("machine",), ("edge", "machine"), ("edge", "region")


class Partition(Fault):
    key: ClassVar[str] = "partition"
    short_schemas: ClassVar[tuple[dict[str, Any], ...]] = (TEXT_SCHEMA, PAIR_SCHEMA)

    between: RegionPair | None = None
    """Two regions: cuts the edge of each from the machines of the other."""
    edge: Text | None = None
    region: Text | None = None
    """Region of the machines."""
    machine: Text | None = None

    @classmethod
    def expand_short_form(cls, data: Any) -> Any:
        """A list is two regions, a string is a machine."""
        return {"between": data} if isinstance(data, list) else {"machine": as_string(data)}

    @model_validator(mode="after")
    def _is_one_form(self) -> Partition:
        given = tuple(
            name for name in ("between", "edge", "region", "machine") if name in self.model_fields_set
        )
        if tuple(sorted(given)) not in _FORMS:
            keys = " and ".join(f'"{name}:"' for name in given) or "no keys"
            raise invalid(
                f"a partition with {keys}",
                expected="two regions, machine:, edge: and machine:, or edge: and region:",
            )
        return self

    @property
    def sides(self) -> list[str]:
        """Its regions, edge and machine as given in the scenario."""
        return self.between or [side for side in (self.edge, self.region, self.machine) if side is not None]

    def describe(self, context: FaultContext) -> str:
        return f"all traffic is dropped between {' and '.join(self._sides(context))}"

    def _sides(self, context: FaultContext) -> tuple[str, str]:
        if self.between is not None:
            one, other = (check_region(context, region) for region in self.between)
            return one, other
        edge = f"edge {check_region(context, self.edge, is_edge=True)}" if self.edge else "all edges"
        if self.machine is not None:
            return edge, machine_name(context, self.machine)
        assert self.region is not None
        return edge, f"the machines in {check_region(context, self.region)}"

    async def apply(self, context: FaultContext) -> Undo:
        undo_cuts = add_conditions(context, *self._cuts(context))
        if self.machine is None or self.edge is not None:
            return undo_cuts
        fault_injector, machine = context.supervisor.fault_injector, context.find_machine(self.machine)

        async def undo() -> None:
            try:
                await fault_injector.rejoin(machine.id)
            finally:
                await undo_cuts()

        try:  # In addition to the cut at the proxy, which lets it skip its waits for the machine.
            await fault_injector.isolate(machine.id)
        except BaseException:
            await undo()
            raise
        return undo

    def _cuts(self, context: FaultContext) -> list[Cut]:
        description = self.describe(context)
        if self.between is not None:
            one, other = self.between
            pairs = dict.fromkeys([(one, other), (other, one)])
            return [Cut(description=description, edge=edge, region=region) for edge, region in pairs]
        machine_id = context.find_machine(self.machine).id if self.machine else None
        return [Cut(description=description, edge=self.edge, region=self.region, machine_id=machine_id)]
