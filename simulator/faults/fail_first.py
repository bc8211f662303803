"""`fail_first`: the next deliveries to a machine fail, in the way that is asked for; those after them do not."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from simulator.config.base_model import fault
from simulator.config.problems import describe, suggest
from simulator.faults.base import FaultOfMachine, Undo, name_of
from simulator.faults.conditions import until_healed
from simulator.faults.context import FaultContext
from simulator.network_conditions import Failing
from simulator.routing.errors import Failure

WAYS = {
    "refuse": Failure.REFUSED,  # nothing listens
    "reset": Failure.RESET,  # reset before the connection is open
    "unreachable": Failure.HOST_UNREACHABLE,
    "close": Failure.CLOSED,  # the request is taken, and the connection closed without an answer
}
_FIRST_STATUS, _LAST_STATUS = 500, 599


def _way_or_status(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if _FIRST_STATUS <= value <= _LAST_STATUS:
            return value
    elif value in WAYS:
        return value
    hint = suggest(value, WAYS) if isinstance(value, str) else ""
    raise fault(f"{describe(value)}{hint}", expected=f"one of {', '.join(WAYS)}, or a status from 500 to 599")


Way = Annotated[
    str | int,
    BeforeValidator(_way_or_status),
    WithJsonSchema({"anyOf": [{"enum": list(WAYS)}, {"type": "integer", "minimum": 500, "maximum": 599}]}),
]


class FailFirst(FaultOfMachine):
    key: ClassVar[str] = "fail_first"

    times: int = Field(default=1, ge=1)
    with_: Way = Field(default="refuse", alias="with")
    """How: in the way of the network, or with a status that is answered in the machine's name."""

    def words(self, context: FaultContext) -> str:
        deliveries = "delivery fails" if self.times == 1 else f"{self.times} deliveries fail"
        return f"the next {deliveries} at {name_of(context, self.machine)}: {self.with_}"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        how = self.with_ if isinstance(self.with_, int) else WAYS[self.with_]
        failing = Failing(words=self.words(context), machine_id=machine.id, how=how, left=self.times)
        return until_healed(context, failing)
