"""What Fly's Machines API tells of a machine beyond its present state: its times, its latest events, its end.

Gathered from the bus, so that it needs nothing of the machine room. Shape: Fly's Machines API, "Machine properties".
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
"""F-10.18: the API returns the 20 latest."""
MAX_DESTROYED = 100

# The state that a machine came to -> (type of the event, who caused it).
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
class Record:
    created_at: float
    updated_at: float
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    """The newest first, as Fly gives them."""


class Records:
    """The records of all machines, and for a while of destroyed ones."""

    def __init__(self, bus: Bus, fleet: Fleet, now: Callable[[], float]) -> None:
        self._now = now
        self._records: dict[str, Record] = {}
        self._destroyed: OrderedDict[str, str] = OrderedDict()  # id -> app
        for machine in fleet.machines:
            self.of(machine.id)
        self.unsubscribe = bus.subscribe(self._remember)

    def of(self, machine_id: str) -> Record:
        record = self._records.get(machine_id)
        if record is None:
            now = self._now()
            record = self._records[machine_id] = Record(now, now)
            _add_event(record, machine_id, MachineState.CREATED, now)
        return record

    def is_destroyed(self, app: str, machine_id: str) -> bool:
        return self._destroyed.get(machine_id) == app

    def _remember(self, event: Event) -> None:
        if isinstance(event, FleetChanged):
            for machine in event.fleet.machines:
                self._destroyed.pop(machine.id, None)
                self.of(machine.id)
        elif isinstance(event, MachineStateChanged):
            self._remember_state(event)

    def _remember_state(self, event: MachineStateChanged) -> None:
        record = self.of(event.machine_id)
        _add_event(record, event.machine_id, event.after, event.at)
        if event.after is MachineState.DESTROYED:
            self._destroyed[event.machine_id] = event.app
            if len(self._destroyed) > MAX_DESTROYED:
                forgotten, _ = self._destroyed.popitem(last=False)
                self._records.pop(forgotten, None)


def _add_event(record: Record, machine_id: str, state: MachineState, at: float) -> None:
    kind, source = _EVENTS[state]
    record.updated_at = at
    record.events.appendleft(
        {
            "id": sha256(f"{machine_id}{at}{state}".encode()).hexdigest()[:26].upper(),
            "type": kind,
            "status": str(state),
            "source": source,
            "timestamp": int(at * 1000),
        }
    )


def api_machine(
    machine: Machine, record: Record, spec: MachineSpec | None, services: tuple[FlyService, ...]
) -> dict[str, Any]:
    """The machine in the shape of Fly's Machines API."""
    return {
        "id": machine.id,
        "name": machine.name,
        "state": machine.state,
        "region": machine.region,
        "instance_id": spec.version if spec else "",
        "private_ip": machine.private_ip,
        "config": _config(machine, spec, services),
        "checks": _checks(machine, spec, record),
        "created_at": _rfc3339(record.created_at),
        "updated_at": _rfc3339(record.updated_at),
        "events": list(record.events),
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
    where = {"port": start} if start == end else {"start_port": start, "end_port": end}
    return {**where, "handlers": list(handlers), "force_https": force_https}


def _checks(machine: Machine, spec: MachineSpec | None, record: Record) -> list[dict[str, Any]]:
    status = "passing" if machine.healthy and machine.state is MachineState.STARTED else "critical"
    return [
        {
            "name": f"servicecheck-{index:02}-{check.type}-{check.port or spec.internal_port}",
            "status": status,
            "updated_at": _rfc3339(record.updated_at),
        }
        for index, check in enumerate(spec.checks)
    ] if spec else []  # fmt: skip


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
