"""What the proxy knows when it decides: apps, machines, the fleet at one instant, request and response heads.

Everything here is immutable; a change of any machine is a new `Fleet`. Header fields stay as the raw
pairs of bytes that came over the wire, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from simulator.routing.regions import distance_km

Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields as sent: (name, value) pairs in order, names in the sender's case."""


class MachineState(StrEnum):
    """Of the states of a Machine (F-5.47), those that one has here."""

    CREATED = "created"
    STARTED = "started"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    FAILED = "failed"
    STARTING = "starting"
    STOPPING = "stopping"
    SUSPENDING = "suspending"
    DESTROYING = "destroying"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class App:
    """A named set of machines, with what the proxy needs of its configuration."""

    name: str
    org: str = "personal"
    network: str = "default"
    hostnames: tuple[str, ...] = ()
    primary_region: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """One running copy of an app, as the proxy sees it at one instant."""

    id: str
    name: str
    app: str
    region: str
    host: str = "127.0.0.1"
    port: int = 8080
    state: MachineState = MachineState.STARTED
    healthy: bool = True
    cordoned: bool = False
    group: str = "app"
    private_ip: str = ""

    @property
    def is_candidate(self) -> bool:
        """Whether new requests may be delivered to it (F-5.13, F-5.17)."""
        return self.state is MachineState.STARTED and self.healthy and not self.cordoned

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Fleet:
    """All apps and machines at one instant."""

    apps: Mapping[str, App]
    machines: tuple[Machine, ...] = ()
    _by_id: dict[str, Machine] = field(init=False, repr=False, compare=False)
    _nearest: dict[tuple[str, str], tuple[tuple[Machine, ...], ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {machine.id: machine for machine in self.machines})

    @classmethod
    def of(cls, apps: Iterable[App], machines: Iterable[Machine] = ()) -> Fleet:
        return cls({app.name: app for app in apps}, tuple(machines))

    @property
    def first_app(self) -> App | None:
        return next(iter(self.apps.values()), None)

    def find(self, machine_id: str) -> Machine | None:
        return self._by_id.get(machine_id)

    def of_app(self, app: str) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine.app == app)

    def candidates_by_distance(self, app: str, edge: str) -> tuple[tuple[Machine, ...], ...]:
        """The machines of `app` that may take requests, in groups of equal distance from `edge`, closest first."""
        key = (app, edge)
        groups = self._nearest.get(key)
        if groups is None:
            groups = self._nearest[key] = self._group_by_distance(app, edge)
        return groups

    def _group_by_distance(self, app: str, edge: str) -> tuple[tuple[Machine, ...], ...]:
        groups: dict[float, list[Machine]] = {}
        for machine in self.of_app(app):
            if machine.is_candidate:
                groups.setdefault(distance_km(edge, machine.region), []).append(machine)
        return tuple(tuple(groups[distance]) for distance in sorted(groups))

    def app_for_host(self, host: str) -> App | None:
        """The app that a `Host` names (`<app>.fly.dev` or one of its hostnames), else the first app."""
        name = host.rsplit(":", 1)[0].lower() if not host.endswith("]") else host
        for app in self.apps.values():
            if name == f"{app.name}.fly.dev" or name in app.hostnames:
                return app
        return self.first_app

    def with_machine(self, machine: Machine) -> Fleet:
        """This fleet with `machine` put in place of the one with its id, or added."""
        if machine.id in self._by_id:
            return replace(self, machines=tuple(machine if m.id == machine.id else m for m in self.machines))
        return replace(self, machines=(*self.machines, machine))


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a client's request, as the edge received it."""

    method: str
    target: str
    host: str
    scheme: str
    fields: Fields
    client_ip: str
    edge_ip: str
    edge_port: int
    http_version: str = "1.1"


@dataclass(frozen=True, slots=True)
class Response:
    """The head of a machine's answer."""

    status: int
    fields: Fields
