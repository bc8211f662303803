"""Fault `latency`: delays all traffic between two regions in each direction; connecting takes one round trip."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from simulator.config.base_model import Duration
from simulator.config.duration import format_duration
from simulator.faults.base import Fault, RegionPair, Undo, add_conditions, check_region
from simulator.faults.context import FaultContext
from simulator.network_conditions import Delay


class Latency(Fault):
    key: ClassVar[str] = "latency"

    between: RegionPair
    """The region of the edge and the region of the machine, in any order."""
    of: Duration = Field(gt=0)
    """Delay in each direction."""

    def describe(self, context: FaultContext) -> str:
        one, other = (check_region(context, region) for region in self.between)
        return f"{format_duration(self.of)} of latency in each direction between {one} and {other}"

    async def apply(self, context: FaultContext) -> Undo:
        description = self.describe(context)
        one, other = self.between
        pairs = dict.fromkeys([(one, other), (other, one)])  # One pair if both regions are the same.
        delays = [
            Delay(description=description, edge=edge, region=region, seconds=self.of)
            for edge, region in pairs
        ]
        return add_conditions(context, *delays)
