"""`latency`: everything between two regions takes longer, each way; opening a connection takes a way there and back."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from simulator.config.base_model import Duration
from simulator.config.duration import format_duration
from simulator.faults.base import Fault, Undo, check_region
from simulator.faults.conditions import Pair, until_healed
from simulator.faults.context import FaultContext
from simulator.network_conditions import Delay


class Latency(Fault):
    key: ClassVar[str] = "latency"

    between: Pair
    """Two regions: that of the edge, and that of the machine."""
    of: Duration = Field(gt=0)
    """Each way."""

    def words(self, context: FaultContext) -> str:
        one, other = (check_region(context, region) for region in self.between)
        return f"{format_duration(self.of)} more each way between {one} and {other}"

    async def apply(self, context: FaultContext) -> Undo:
        words = self.words(context)
        one, other = self.between
        ways = dict.fromkeys([(one, other), (other, one)])  # one way only within a region
        delays = [Delay(words=words, edge=edge, region=region, seconds=self.of) for edge, region in ways]
        return until_healed(context, *delays)
