"""How faults that have no real means are brought about: as conditions of the network that the proxy asks about."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from simulator.config.base_model import TEXT_SCHEMA, Text, fault
from simulator.config.problems import describe
from simulator.faults.base import Undo
from simulator.faults.context import FaultContext
from simulator.network_conditions import Condition

PAIR_SCHEMA = {"type": "array", "items": TEXT_SCHEMA, "minItems": 2, "maxItems": 2}


def _two(regions: list[str]) -> list[str]:
    if len(regions) != 2:
        raise fault(describe(regions), expected="two regions, as in [ams, dfw]")
    return regions


Pair = Annotated[list[Text], AfterValidator(_two), WithJsonSchema(PAIR_SCHEMA)]
"""Two regions."""


def until_healed(context: FaultContext, *conditions: Condition) -> Undo:
    end = context.network.add(*conditions)

    async def undo() -> None:
        end()

    return undo
