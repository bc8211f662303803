"""`partition`: nothing gets through between two regions, between an edge and a machine or a region, or to a machine.

A machine that is cut off from everything is so by real means where its backend has any; else, and for the rest, at the
proxy. Connections take their time to fail; what is open already stalls, and goes on when it is healed.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import model_validator

from simulator.config.base_model import TEXT_SCHEMA, Text, as_written, fault
from simulator.faults.base import Fault, Undo, check_region, name_of
from simulator.faults.conditions import PAIR_SCHEMA, Pair, until_healed
from simulator.faults.context import FaultContext
from simulator.network_conditions import Cut

_FORMS = ("between",), ("machine",), ("edge", "machine"), ("edge", "region")


class Partition(Fault):
    key: ClassVar[str] = "partition"
    short_schemas: ClassVar[tuple[dict[str, Any], ...]] = (TEXT_SCHEMA, PAIR_SCHEMA)

    between: Pair | None = None
    """Two regions: the edge of each, and the machines of the other."""
    edge: Text | None = None
    region: Text | None = None
    """Of the machines."""
    machine: Text | None = None

    @classmethod
    def open_short_form(cls, data: Any) -> Any:
        """`[ams, dfw]` are two regions, and `dfw-1` is a machine."""
        return {"between": data} if isinstance(data, list) else {"machine": as_written(data)}

    @model_validator(mode="after")
    def _is_one_form(self) -> Partition:
        given = tuple(
            name for name in ("between", "edge", "region", "machine") if name in self.model_fields_set
        )
        if tuple(sorted(given)) not in _FORMS:
            read = " and ".join(f'"{name}:"' for name in given) or "nothing"
            raise fault(
                f"{read} in one partition",
                expected="two regions, machine:, edge: and machine:, or edge: and region:",
            )
        return self

    @property
    def sides(self) -> list[str]:
        """As they are written."""
        return self.between or [side for side in (self.edge, self.region, self.machine) if side is not None]

    def words(self, context: FaultContext) -> str:
        return f"nothing gets through between {' and '.join(self._sides(context))}"

    def _sides(self, context: FaultContext) -> tuple[str, str]:
        if self.between is not None:
            one, other = (check_region(context, region) for region in self.between)
            return one, other
        edge = f"edge {check_region(context, self.edge, is_edge=True)}" if self.edge else "everything"
        if self.machine is not None:
            return edge, name_of(context, self.machine)
        assert self.region is not None
        return edge, f"the machines of {check_region(context, self.region)}"

    async def apply(self, context: FaultContext) -> Undo:
        undo_cuts = until_healed(context, *self._cuts(context))
        if self.machine is None or self.edge is not None:
            return undo_cuts
        fault_injector, machine = context.supervisor.fault_injector, context.find_machine(self.machine)

        async def undo() -> None:
            try:
                await fault_injector.rejoin(machine.id)
            finally:
                await undo_cuts()

        try:  # The proxy knows of it in any case: so its own waits for the machine can be skipped.
            await fault_injector.isolate(machine.id)
        except BaseException:
            await undo()
            raise
        return undo

    def _cuts(self, context: FaultContext) -> list[Cut]:
        words = self.words(context)
        if self.between is not None:
            one, other = self.between
            ways = dict.fromkeys([(one, other), (other, one)])
            return [Cut(words=words, edge=edge, region=region) for edge, region in ways]
        machine_id = context.find_machine(self.machine).id if self.machine else None
        return [Cut(words=words, edge=self.edge, region=self.region, machine_id=machine_id)]
