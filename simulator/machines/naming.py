"""Ids and names of machines that are cloned while flysim runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random

from simulator.config.compose.labels import next_machine_name
from simulator.config.model import MachineSpec
from simulator.config.problems import suggest
from simulator.errors import InputError
from simulator.routing.regions import REGIONS, is_region


def clone_spec(
    original: MachineSpec, region: str | None, known: Iterable[MachineSpec], random: Random
) -> MachineSpec:
    """A copy of a machine with a new id of 14 hex digits (F-7.3) and the next name of its region, `<region>-<n>`.

    `known` are all current and former machines: no id or name is used for a second machine.
    Raises InputError for an unknown region.
    """
    known = tuple(known)
    if region is not None and not is_region(region):
        codes = [code for code, each in REGIONS.items() if each.current]
        raise InputError(
            f'there is no region "{region}"{suggest(region, codes)}', expected=f"one of {', '.join(codes)}"
        )
    region = region or original.region
    name = next_machine_name(region, original.app, known)
    return replace(original, id=_new_id(known, random), name=name, region=region, is_adopted=False)


def _new_id(known: tuple[MachineSpec, ...], random: Random) -> str:
    used = {spec.id for spec in known}
    while (machine_id := f"{random.getrandbits(56):014x}") in used:
        continue  # Not a retry that waits: it draws until an id is new.
    return machine_id
