"""Fault `reset`: resets the machine's connection in the middle of a response or a WebSocket."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from simulator.config.base_model import Size
from simulator.faults.base import MachineOnlyFault, Undo, add_conditions, machine_name
from simulator.faults.context import FaultContext
from simulator.network_conditions import ResponseResets


class Reset(MachineOnlyFault):
    key: ClassVar[str] = "reset"

    after: Size = 0
    """Bytes of the response body, or from the machine on a WebSocket, before the reset.

    For a response or WebSocket that is already open, the count starts when the fault is injected.
    """
    times: int | None = Field(default=None, ge=1)
    """Number of responses to reset; None resets all."""

    def describe(self, context: FaultContext) -> str:
        times = "" if self.times is None else f", {self.times} times" if self.times > 1 else ", once"
        name = machine_name(context, self.machine)
        return f"{name} resets the connection after {self.after} bytes of a response{times}"

    async def apply(self, context: FaultContext) -> Undo:
        description, machine = self.describe(context), context.find_machine(self.machine)
        resets = ResponseResets(
            description=description, machine_id=machine.id, after_bytes=self.after, remaining=self.times
        )
        return add_conditions(context, resets)
