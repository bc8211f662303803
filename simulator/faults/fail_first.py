"""Fault `fail_first`: the next deliveries to a machine fail with a network failure or an HTTP status."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from simulator.config.base_model import invalid
from simulator.config.problems import describe, suggest
from simulator.faults.base import MachineOnlyFault, Undo, add_conditions, machine_name
from simulator.faults.context import FaultContext
from simulator.network_conditions import FailedDeliveries
from simulator.routing.errors import Failure

FAILURES = {
    "refuse": Failure.REFUSED,  # Connection refused.
    "reset": Failure.RESET,  # Connection reset while it is opened.
    "unreachable": Failure.HOST_UNREACHABLE,
    "close": Failure.CLOSED,  # Connection closed after the request, without a response.
}
_FIRST_STATUS, _LAST_STATUS = 500, 599


def _check_failure(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if _FIRST_STATUS <= value <= _LAST_STATUS:
            return value
    elif value in FAILURES:
        return value
    hint = suggest(value, FAILURES) if isinstance(value, str) else ""
    raise invalid(
        f"{describe(value)}{hint}", expected=f"one of {', '.join(FAILURES)}, or a status from 500 to 599"
    )


FailureOrStatus = Annotated[
    str | int,
    BeforeValidator(_check_failure),
    WithJsonSchema(
        {"anyOf": [{"enum": list(FAILURES)}, {"type": "integer", "minimum": 500, "maximum": 599}]}
    ),
]


class FailFirst(MachineOnlyFault):
    key: ClassVar[str] = "fail_first"

    times: int = Field(default=1, ge=1)
    with_: FailureOrStatus = Field(default="refuse", alias="with")
    """A network failure, or the status of a response on behalf of the machine."""

    def describe(self, context: FaultContext) -> str:
        deliveries = "delivery fails" if self.times == 1 else f"{self.times} deliveries fail"
        return f"the next {deliveries} at {machine_name(context, self.machine)}: {self.with_}"

    async def apply(self, context: FaultContext) -> Undo:
        machine = context.find_machine(self.machine)
        failure = self.with_ if isinstance(self.with_, int) else FAILURES[self.with_]
        failing = FailedDeliveries(
            description=self.describe(context), machine_id=machine.id, failure=failure, remaining=self.times
        )
        return add_conditions(context, failing)
