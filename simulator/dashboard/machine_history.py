"""History of each machine in the shape of Fly's Machines API: creation time, latest events, destruction.

Built from the events on the bus. Shape: Fly's Machines API, "Machine properties".
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from simulator.config.fly.model import FlyService
from simulator.config.model import MachineSpec
from simulator.events import Bus, Event, FleetChanged, MachineStateChanged
from simulator.routing.model import Fleet, Machine, MachineState

MAX_EVENTS = 20
"""F-10.18: the API returns the latest 20."""
MAX_DESTROYED = 100

# The new state of a machine -> (type of the event, its source).
_EVENTS = {
    MachineState.CREATED: ("launch", "user"),
    MachineState.STARTING: ("start", "user"),
    MachineState.STARTED: ("start", "flyd"),
    MachineState.STOPPING: ("stop", "user"),
    MachineState.STOPPED: ("exit", "flyd"),
    MachineState.SUSPENDING: ("suspend", "user"),
    MachineState.SUSPENDED: ("suspend", "flyd"),
    MachineState.FAILED: ("exit", "flyd"),
    MachineState.DESTROYING: ("destroy", "user"),
    MachineState.DESTROYED: ("destroy", "flyd"),
}


@dataclass(slots=True)
class MachineHistory:
    created_at: float
    updated_at: float
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    """Newest first, as in Fly's API."""


class MachineHistories:
    """The histories of all machines, and of the latest destroyed ones."""

    def __init__(self, bus: Bus, fleet: Fleet, now: Callable[[], float]) -> None:
        self._now = now
        self._histories: dict[str, MachineHistory] = {}
        self._destroyed: OrderedDict[str, str] = OrderedDict()  # id -> app
        for machine in fleet.machines:
            self.of(machine.id)
        self.unsubscribe = bus.subscribe(self._take)

    def of(self, machine_id: str) -> MachineHistory:
        history = self._histories.get(machine_id)
        if history is None:
            now = self._now()
            history = self._histories[machine_id] = MachineHistory(now, now)
            _add_event(history, machine_id, MachineState.CREATED, now)
        return history

    def is_destroyed(self, app: str, machine_id: str) -> bool:
        return self._destroyed.get(machine_id) == app

    def _take(self, event: Event) -> None:
        if isinstance(event, FleetChanged):
            for machine in event.fleet.machines:
                self._destroyed.pop(machine.id, None)
                self.of(machine.id)
        elif isinstance(event, MachineStateChanged):
            self._take_state(event)

    def _take_state(self, event: MachineStateChanged) -> None:
        history = self.of(event.machine_id)
        _add_event(history, event.machine_id, event.after, event.at)
        if event.after is MachineState.DESTROYED:
            self._destroyed[event.machine_id] = event.app
            if len(self._destroyed) > MAX_DESTROYED:
                oldest, _ = self._destroyed.popitem(last=False)
                self._histories.pop(oldest, None)


def _add_event(history: MachineHistory, machine_id: str, state: MachineState, at: float) -> None:
    kind, source = _EVENTS[state]
    history.updated_at = at
    history.events.appendleft(
        {
            "id": sha256(f"{machine_id}{at}{state}".encode()).hexdigest()[:26].upper(),
            "type": kind,
            "status": str(state),
            "source": source,
            "timestamp": int(at * 1000),
        }
    )


def api_machine(
    machine: Machine, history: MachineHistory, spec: MachineSpec | None, services: tuple[FlyService, ...]
) -> dict[str, Any]:
    """The machine as Fly's Machines API represents it."""
    return {
        "id": machine.id,
        "name": machine.name,
        "state": machine.state,
        "region": machine.region,
        "instance_id": spec.version if spec else "",
        "private_ip": machine.private_ip,
        "config": _config(machine, spec, services),
        "checks": _checks(machine, spec, history),
        "created_at": _rfc3339(history.created_at),
        "updated_at": _rfc3339(history.updated_at),
        "events": list(history.events),
        "cordoned": machine.cordoned,
        "host_status": "ok",
    }


def _config(machine: Machine, spec: MachineSpec | None, services: tuple[FlyService, ...]) -> dict[str, Any]:
    return {
        "env": dict(spec.env) if spec else {},
        "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": spec.memory_mb if spec else 256},
        "image": spec.image if spec and spec.image else "",
        "metadata": {"fly_process_group": machine.group},  # F-7.17
        "services": [_service(service) for service in services if service.is_offered_by(machine.group)],
    }


def _service(service: FlyService) -> dict[str, Any]:
    # F-9.17: the API's names differ from those of fly.toml.
    ports = [_port(port.start, port.end, port.handlers, port.force_https) for port in service.ports]
    return {
        "protocol": service.protocol,
        "internal_port": service.internal_port,
        "autostop": service.autostop,
        "autostart": service.autostart,
        "min_machines_running": service.min_machines_running,
        "ports": ports,
    }


def _port(start: int, end: int, handlers: tuple[str, ...], force_https: bool) -> dict[str, Any]:
    numbers = {"port": start} if start == end else {"start_port": start, "end_port": end}
    return {**numbers, "handlers": list(handlers), "force_https": force_https}


def _checks(machine: Machine, spec: MachineSpec | None, history: MachineHistory) -> list[dict[str, Any]]:
    status = "passing" if machine.healthy and machine.state is MachineState.STARTED else "critical"
    return [
        {
            "name": f"servicecheck-{index:02}-{check.type}-{check.port or spec.internal_port}",
            "status": status,
            "updated_at": _rfc3339(history.updated_at),
        }
        for index, check in enumerate(spec.checks)
    ] if spec else []  # fmt: skip


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
