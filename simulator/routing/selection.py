"""Which machine gets a delivery: filter, then rank.

Closest first, chance among equals (F-5.1); a region list is tried in its order and never left (F-1.20).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from simulator.routing.model import Fleet, Machine
from simulator.routing.regions import members

Chance = Callable[[int], int]
"""Given n ≥ 1, a number from 0 to n - 1: the caller's randomness (F-5.1)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a delivery is aimed at. Everything but `prefer_instance` is a hard condition."""

    app: str
    instance: str | None = None
    prefer_instance: str | None = None
    regions: tuple[str, ...] = ()
    excluded: str | None = None
    """The id of a machine that may not be chosen (F-1.6)."""


def select(fleet: Fleet, target: Target, edge: str, tried: Collection[str], chance: Chance) -> Machine | None:
    """The machine for this delivery, or None; machines in `tried` are passed over."""
    if target.instance is not None:
        return _admitted(fleet.find(target.instance), target, tried)
    if target.prefer_instance is not None:
        preferred = _admitted(fleet.find(target.prefer_instance), target, tried)
        if preferred is not None:
            return preferred
    groups = fleet.candidates_by_distance(target.app, edge)
    for region in target.regions or (None,):
        admitted = members(region) if region is not None else None
        for group in groups:
            chosen = [
                machine
                for machine in group
                if (admitted is None or machine.region in admitted) and _is_free(machine, target, tried)
            ]
            if chosen:
                return chosen[chance(len(chosen))]
    return None


def _is_free(machine: Machine, target: Target, tried: Collection[str]) -> bool:
    return machine.is_candidate and machine.id != target.excluded and machine.id not in tried


def _admitted(machine: Machine | None, target: Target, tried: Collection[str]) -> Machine | None:
    """The named machine, if it meets the other conditions; one of another app meets nothing (F-1.16, K-10)."""
    if machine is None or machine.app != target.app or not _is_free(machine, target, tried):
        return None
    return machine if _in_regions(machine, target.regions) else None


def _in_regions(machine: Machine, regions: tuple[str, ...]) -> bool:
    if not regions:
        return True
    return any((admitted := members(region)) is None or machine.region in admitted for region in regions)
