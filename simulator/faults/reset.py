"""`reset`: the machine's connection is reset in the middle of its answer, or of a WebSocket."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from simulator.config.base_model import Size
from simulator.faults.base import FaultOfMachine, Undo, name_of
from simulator.faults.conditions import until_healed
from simulator.faults.context import FaultContext
from simulator.network_conditions import Breaking


class Reset(FaultOfMachine):
    key: ClassVar[str] = "reset"

    after: Size = 0
    """Bytes of the body, or from the machine on a WebSocket, that still pass; counted from now where it is open."""
    times: int | None = Field(default=None, ge=1)
    """How many answers; all of them where nothing is said."""

    def words(self, context: FaultContext) -> str:
        times = "" if self.times is None else f", {self.times} times" if self.times > 1 else ", once"
        return f"{name_of(context, self.machine)} resets after {self.after} bytes of its answer{times}"

    async def apply(self, context: FaultContext) -> Undo:
        words, machine = self.words(context), context.find_machine(self.machine)
        return until_healed(
            context, Breaking(words=words, machine_id=machine.id, after_bytes=self.after, left=self.times)
        )
