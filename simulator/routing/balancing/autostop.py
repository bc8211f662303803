"""Autostop: which machines one pass stops or suspends (facts 5.4).

At most one machine per region and pass (F-5.32). Only machines that offer a service count, and each is compared
with those that offer the same services: a worker without a service is not excess capacity of the web machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from simulator.routing.balancing.load import Load, LoadClass
from simulator.routing.model import App, Fleet, Machine, MachineState
from simulator.routing.service import Autostop, Service

Services = tuple[Service, ...]


def machines_to_stop(fleet: Fleet, load: Load, app: App) -> tuple[tuple[Machine, Autostop], ...]:
    """The machines of `app` that one pass stops or suspends, each with the action."""
    chosen: dict[str, tuple[Machine, Autostop]] = {}
    for (region, services), running in _peers(fleet, app).items():
        action = _autostop(services)
        if region in chosen or action is Autostop.OFF:
            continue
        if len(running) <= _minimum(services, is_primary=region == app.primary_region):
            continue
        if idle := _find_excess(running, services, load):
            chosen[region] = (idle, action)
    return tuple(chosen.values())


def _peers(fleet: Fleet, app: App) -> dict[tuple[str, Services], list[Machine]]:
    """The running machines that can replace each other, grouped by region and services."""
    peers: dict[tuple[str, Services], list[Machine]] = {}
    for machine in fleet.of_app(app.name):
        services = tuple(service for service in app.services if service.is_offered_by(machine.group))
        if services and machine.state is MachineState.STARTED and not machine.cordoned:
            peers.setdefault((machine.region, services), []).append(machine)
    return peers


def _autostop(services: Services) -> Autostop:
    """The most cautious setting of several services: Fly does not document a mixture."""
    wanted = {service.autostop for service in services}
    if Autostop.OFF in wanted:
        return Autostop.OFF
    return (
        Autostop.STOP if Autostop.STOP in wanted else Autostop.SUSPEND
    )  # F-5.35: suspend falls back to stop


def _minimum(services: Services, *, is_primary: bool) -> int:
    """How many machines must keep running (F-5.34); the setting applies to the primary region only."""
    return max(service.min_machines_running for service in services) if is_primary else 0


def _find_excess(running: Sequence[Machine], services: Services, load: Load) -> Machine | None:
    """F-5.33. Fly does not document which of several is stopped: here the least loaded, and of equals the last one."""
    if len(running) == 1:
        return running[0] if not load.of_machine(running[0].id) else None
    over = sum(_is_over_soft(machine, services, load) for machine in running)
    if len(running) - (over + 1) < 1:
        return None
    return min(reversed(running), key=lambda machine: load.of_machine(machine.id))


def _is_over_soft(machine: Machine, services: Iterable[Service], load: Load) -> bool:
    return any(load.classify(machine.id, service) is not LoadClass.BELOW_SOFT for service in services)
