"""Which machines nobody needs: one pass of the proxy's autostop, per region (F-5.32 to F-5.35)."""

from __future__ import annotations

from simulator.routing.load import Load, LoadClass
from simulator.routing.model import App, Fleet, Machine
from simulator.routing.service import Autostop


def machines_to_stop(fleet: Fleet, load: Load, app: App) -> tuple[tuple[Machine, Autostop], ...]:
    """At most one machine of each region, with what is to become of it."""
    service = app.services[0]
    if service.autostop is Autostop.OFF:
        return ()
    regions: dict[str, list[Machine]] = {}
    for machine in fleet.of_app(app.name):
        if machine.is_candidate and service.is_offered_by(machine.group):
            regions.setdefault(machine.region, []).append(machine)
    chosen = []
    for region, running in regions.items():
        least = service.min_machines_running if region == app.primary_region else 0  # F-5.34
        spare = _dispensable(running, load, app) if len(running) > least else None
        if spare is not None:
            chosen.append((spare, service.autostop))
    return tuple(chosen)


def _dispensable(running: list[Machine], load: Load, app: App) -> Machine | None:
    """The least busy of more than are needed, or the only one if it is idle (F-5.33)."""
    service = app.services[0]
    least_busy = min(running, key=lambda machine: load.of_machine(machine.id))
    if len(running) == 1:
        return least_busy if load.of_machine(least_busy.id) == 0 else None
    above_soft = sum(load.classify(machine.id, service) is not LoadClass.BELOW_SOFT for machine in running)
    excess = len(running) - (above_soft + 1)
    return least_busy if excess >= 1 else None
