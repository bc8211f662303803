"""Ids and names of machines that join while flysim runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random

from simulator.config.compose.labels import name_machine
from simulator.config.model import MachineSpec
from simulator.config.problems import suggest
from simulator.errors import InputError
from simulator.routing.regions import REGIONS, is_region


def clone_spec(
    original: MachineSpec, region: str | None, known: Iterable[MachineSpec], random: Random
) -> MachineSpec:
    """The same again under a new id of 14 hex digits (F-7.3) and the next name of its region, `<region>-<n>`.

    `known` are all that there are or were: neither an id nor a name comes to mean another machine.
    Raises InputError for a region that is none.
    """
    known = tuple(known)
    if region is not None and not is_region(region):
        codes = [code for code, each in REGIONS.items() if each.current]
        raise InputError(
            f'there is no region "{region}"{suggest(region, codes)}', expected=f"one of {', '.join(codes)}"
        )
    region = region or original.region
    name = name_machine(region, original.app, known)
    return replace(original, id=_unused_id(known, random), name=name, region=region, is_taken=False)


def _unused_id(known: tuple[MachineSpec, ...], random: Random) -> str:
    used = {spec.id for spec in known}
    while (machine_id := f"{random.getrandbits(56):014x}") in used:
        pass
    return machine_id
