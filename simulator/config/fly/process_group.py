"""What a fly.toml says of every machine of one process group, whoever makes the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simulator.config.fly.model import DEFAULT_INTERNAL_PORT, Check, FlyService, FlyToml
from simulator.config.model import MachineSpec


def machine_in_group(
    fly: FlyToml | None, group: str | None, *, id: str, name: str, app: str, region: str
) -> MachineSpec:
    """A machine of this group, or of the first one, with all that the group decides; None: no fly.toml is known."""
    known = fly or FlyToml(Path())
    group = group or known.group
    services = known.services_of(group)
    return MachineSpec(
        id=id,
        name=name,
        app=app,
        region=region,
        internal_port=services[0].internal_port if services else DEFAULT_INTERNAL_PORT,
        further_ports=tuple(dict.fromkeys(service.internal_port for service in services[1:])),
        listens=bool(services) or fly is None,
        group=group,
        memory_mb=known.memory_of(group),
        primary_region=known.primary_region,
        checks=_checks_of(services),
        kill_signal=known.kill_signal,
        kill_timeout_seconds=known.kill_timeout_seconds,
    )


def _checks_of(services: tuple[FlyService, ...]) -> tuple[Check, ...]:
    """Those of all services (F-5.17: they gate routing). The first service's port is the machine's own."""
    return tuple(
        check if index == 0 or check.port else replace(check, port=service.internal_port)
        for index, service in enumerate(services)
        for check in service.checks
    )
