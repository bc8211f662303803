"""Swarm services of a fleet: one per machine, or one for all machines of a config row with `count`.

The machines of such a row have ids that differ only in the last four digits, numbered from 0001 (`config/loader.py`).
Swarm numbers the tasks of a service in the same way, so a hundred machines are one service, deployed by one request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from simulator.config.model import AppConfig, Config, MachineSpec
from simulator.errors import InputError
from simulator.machines.swarm.task_labels import MAX_SLOTS, SLOT, SLOT_DIGITS

_MAX_NAME_LENGTH = 40
"""With the stack's name as a prefix, the service's name has to be a valid DNS label."""


@dataclass(frozen=True, slots=True)
class FleetService:
    """One service and its machines, which differ only in id and name."""

    name: str
    specs: tuple[MachineSpec, ...]

    @property
    def spec(self) -> MachineSpec:
        """The spec of each task. With several machines, its id ends with Swarm's template for the slot."""
        first = self.specs[0]
        return first if self.is_single else replace(first, id=first.id[:-SLOT_DIGITS] + SLOT)

    @property
    def is_single(self) -> bool:
        """Whether it is one machine, which can be stopped and started by itself."""
        return len(self.specs) == 1


def services_of(config: Config) -> tuple[FleetService, ...]:
    """In the order of the config, without servers that run already (`url`). Raises InputError."""
    return tuple(service for app in config.apps for service in _services_of_app(app))


def service_of(specs: tuple[MachineSpec, ...]) -> FleetService:
    """Raises InputError for machines that Swarm cannot run."""
    _check(specs[0])
    return FleetService(_name(specs), specs)


def _services_of_app(app: AppConfig) -> Iterator[FleetService]:
    for specs in _rows(spec for spec in app.machines if not spec.is_external):
        yield service_of(specs)


def _rows(specs: Iterable[MachineSpec]) -> list[tuple[MachineSpec, ...]]:
    rows: list[list[MachineSpec]] = []
    for spec in specs:
        if rows and _continues_row(rows[-1], spec):
            rows[-1].append(spec)
        else:
            rows.append([spec])
    return [tuple(row) for row in rows]


def _continues_row(row: list[MachineSpec], spec: MachineSpec) -> bool:
    first = row[0]
    expected_id = f"{first.id[:-SLOT_DIGITS]}{len(row) + 1:0{SLOT_DIGITS}d}"
    is_numbered = (
        first.id.endswith("1".zfill(SLOT_DIGITS)) and spec.id == expected_id and len(row) < MAX_SLOTS
    )
    return is_numbered and replace(spec, id=first.id, name=first.name) == first


def _check(spec: MachineSpec) -> None:
    if spec.image is None:
        raise InputError(
            f"machine {spec.name} of app {spec.app} has no image, so Swarm cannot run it",
            expected=f'an `image` under [apps.{spec.app}], for example image = "registry.example.com/{spec.app}:1"',
        )


def _name(specs: tuple[MachineSpec, ...]) -> str:
    first = specs[0]
    name = f"{first.app}-{first.name}"
    if len(specs) > 1:
        name += f"-to-{specs[-1].name.rpartition('-')[2]}"
    name = re.sub(r"[^a-zA-Z0-9-]", "-", name)
    if len(name) <= _MAX_NAME_LENGTH:
        return name
    digest = sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _MAX_NAME_LENGTH - 9]}-{digest}"
