"""Machine settings that a process group of fly.toml determines: ports, health checks, memory, kill signal.

They apply to every machine of the group, whether flysim, Docker Compose or Swarm creates it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simulator.config.fly.model import DEFAULT_INTERNAL_PORT, Check, FlyService, FlyToml
from simulator.config.model import MachineSpec


def machine_in_group(
    fly: FlyToml | None, group: str | None, *, id: str, name: str, app: str, region: str
) -> MachineSpec:
    """A machine of `group`, or of the default group if None. Without a fly.toml, Fly's defaults apply."""
    fly_or_defaults = fly or FlyToml(Path())
    group = group or fly_or_defaults.group
    services = fly_or_defaults.services_of(group)
    return MachineSpec(
        id=id,
        name=name,
        app=app,
        region=region,
        internal_port=services[0].internal_port if services else DEFAULT_INTERNAL_PORT,
        further_ports=tuple(dict.fromkeys(service.internal_port for service in services[1:])),
        listens=bool(services) or fly is None,
        group=group,
        memory_mb=fly_or_defaults.memory_of(group),
        primary_region=fly_or_defaults.primary_region,
        checks=_checks_of(services),
        kill_signal=fly_or_defaults.kill_signal,
        kill_timeout_seconds=fly_or_defaults.kill_timeout_seconds,
    )


def _checks_of(services: tuple[FlyService, ...]) -> tuple[Check, ...]:
    """The checks of all services (F-5.17: they gate routing), with the port of each service but the first.

    The internal port of the first service is the machine's own port, which is the default of a check.
    """
    return tuple(
        check if index == 0 or check.port else replace(check, port=service.internal_port)
        for index, service in enumerate(services)
        for check in service.checks
    )
