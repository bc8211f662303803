"""DNS names of Fly's private network, `.internal` and `.flycast`, resolved from the fleet (F-8.1 to F-8.13).

`.internal` ignores health and bypasses the proxy: it resolves to started machines, and clients connect to them
directly (F-8.14, F-8.18).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from simulator.routing.model import App, Fleet, Machine, MachineState
from simulator.routing.regions import distance_km

SUFFIX = ".internal"
FLYCAST = ".flycast"
_NEAREST = re.compile(r"top(\d+)\.nearest\.of")
_PROCESS_GROUP = re.compile(r"(.+)\.fly_process_group\.kv\._metadata")
"""The only metadata key that every machine has (F-7.17)."""


def is_internal(name: str) -> bool:
    """Whether a DNS name ends in `.internal`."""
    return f".{name.lower().rstrip('.')}".endswith(SUFFIX)


def is_flycast(name: str) -> bool:
    """Whether a DNS name ends in `.flycast`: an app behind the proxy (F-8.20)."""
    return name.lower().rstrip(".").endswith(FLYCAST)


def is_private(name: str) -> bool:
    """Whether the name server of the private network is authoritative for a name."""
    return is_internal(name) or is_flycast(name)


def flycast_app(fleet: Fleet, name: str) -> App | None:
    """The app of a `.flycast` name; None if there is no such app."""
    return fleet.apps.get(name.lower().rstrip(".").removesuffix(FLYCAST))


def find_addresses(fleet: Fleet, name: str, near: str) -> tuple[str, ...] | None:
    """The private addresses of a name, for AAAA; None if the name does not exist. `near` is the client's region."""
    labels = _labels(name)
    app = labels[-1]
    if app not in fleet.apps:
        return None
    machines = _select(_started(fleet, app), ".".join(labels[:-1]), near)
    return tuple(machine.private_ip for machine in machines if machine.private_ip)


def find_texts(fleet: Fleet, name: str) -> tuple[str, ...] | None:
    """The strings of a name, for TXT; None if the name does not exist."""
    labels = _labels(name)
    include_stopped = labels[0] == "all"
    query = labels[1:] if include_stopped else labels
    if query == ["_apps"]:
        return (",".join(fleet.apps),)
    if query == ["_peer"]:
        return ("",)  # F-8.12: there are no WireGuard peers
    if query == ["_instances"]:
        return (";".join(_describe(m) for m in fleet.machines if include_stopped or _is_started(m)),)
    if len(query) != 2 or query[1] not in fleet.apps:
        return None
    machines = fleet.of_app(query[1]) if include_stopped else _started(fleet, query[1])
    if query[0] == "vms":
        return (",".join(f"{machine.id} {machine.region}" for machine in machines),)
    if query[0] == "regions":
        return (",".join(dict.fromkeys(machine.region for machine in machines)),)
    return None


def _labels(name: str) -> list[str]:
    return name.lower().rstrip(".").removesuffix(SUFFIX).split(".")


def _is_started(machine: Machine) -> bool:
    return machine.state is MachineState.STARTED


def _started(fleet: Fleet, app: str) -> tuple[Machine, ...]:
    return tuple(machine for machine in fleet.of_app(app) if _is_started(machine))


def _select(machines: Iterable[Machine], prefix: str, near: str) -> Iterable[Machine]:
    if prefix in ("", "global"):
        return machines
    nearest = _NEAREST.fullmatch(prefix)
    if nearest:
        return sorted(machines, key=lambda machine: distance_km(near, machine.region))[: int(nearest[1])]
    if prefix.endswith(".vm"):
        return [machine for machine in machines if machine.id == prefix.removesuffix(".vm")]
    if prefix.endswith(".process"):
        return [machine for machine in machines if machine.group == prefix.removesuffix(".process")]
    if group := _PROCESS_GROUP.fullmatch(prefix):
        return [machine for machine in machines if machine.group == group[1]]
    return [machine for machine in machines if machine.region == prefix]


def _describe(machine: Machine) -> str:
    return f"instance={machine.id},app={machine.app},ip={machine.private_ip},region={machine.region}"
