"""How faults that have no real means are brought about: as conditions of the network that the proxy asks about."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from simulator.config.written import Text
from simulator.faults.fault import Mend
from simulator.faults.ground import Ground
from simulator.link import Condition

Pair = Annotated[list[Text], Field(min_length=2, max_length=2)]
"""Two regions."""


def until_mended(ground: Ground, *conditions: Condition) -> Mend:
    end = ground.links.add(*conditions)

    async def mend() -> None:
        end()

    return mend
