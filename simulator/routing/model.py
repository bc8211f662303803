"""Data model of routing: apps, machines, the fleet at one instant, request and response heads.

Everything is immutable; a changed machine means a new `Fleet`. Header fields are the raw pairs of bytes from the
wire, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from simulator.routing.regions import distance_km
from simulator.routing.service import HTTP_PORT, HTTPS_PORT, Service, ServicePort

Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields as received: (name, value) pairs in order, names in the sender's case."""

Ports = tuple[tuple[int, int], ...]
"""Port forwarding as (internal port, reachable port) pairs; empty if they are the same."""


def forwarded_port(ports: Ports, internal_port: int) -> int:
    """The port by which an internal port of a machine is reached."""
    return dict(ports).get(internal_port, internal_port)


def join_address(host: str, port: int) -> str:
    """`host:port`, the host in brackets if it is an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class MachineState(StrEnum):
    """The machine states (F-5.47) that flysim emulates."""

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


# F-5.31
_STARTABLE = frozenset(
    {MachineState.CREATED, MachineState.STOPPED, MachineState.SUSPENDED, MachineState.SUSPENDING}
)


@dataclass(frozen=True, slots=True)
class App:
    """A named set of machines, with the configuration that the proxy needs."""

    name: str
    org: str = "personal"
    network: str = "default"
    replay_sources: tuple[str, ...] = ()
    """Other organizations that may replay to this app (F-1.71)."""
    hostnames: tuple[str, ...] = ()
    primary_region: str | None = None
    services: tuple[Service, ...] = (Service(),)

    def find_service(self, port: int, group: str) -> Service | None:
        """The service that a machine of `group` offers on a public port (F-1.61, F-5.12)."""
        for service in self.services:
            if service.is_offered_by(group) and service.find_port(port):
                return service
        return None

    def find_port(self, number: int) -> ServicePort | None:
        """The public port `number` of any service."""
        for service in self.services:
            if port := service.find_port(number):
                return port
        return None

    def serves(self, port: int) -> bool:
        """Whether any service has the public port (F-1.62, F-9.18)."""
        return self.find_port(port) is not None


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
    stopped_at: float | None = None
    """When it was last stopped (F-5.43)."""
    ports: Ports = ()
    """Forwarding of its internal ports."""

    @property
    def is_candidate(self) -> bool:
        """Whether it accepts new requests (F-5.13, F-5.17)."""
        return self.state is MachineState.STARTED and self.healthy and not self.cordoned

    @property
    def is_startable(self) -> bool:
        """Whether a request can start it (F-1.59, F-5.25): also while it is suspending, not while it is stopping."""
        return self.state in _STARTABLE and not self.cordoned

    @property
    def is_starting(self) -> bool:
        """Whether it is starting: a request waits for it and does not start it again."""
        return self.state is MachineState.STARTING and not self.cordoned

    @property
    def address(self) -> str:
        return join_address(self.host, self.port)


@dataclass(frozen=True)
class Fleet:
    """All apps and machines at one instant."""

    apps: Mapping[str, App]
    machines: tuple[Machine, ...] = ()
    _by_id: dict[str, Machine] = field(init=False, repr=False, compare=False)
    _by_host: dict[str, App] = field(init=False, repr=False, compare=False, default_factory=dict)
    _regions: frozenset[str] = field(init=False, repr=False, compare=False)
    _candidates: dict[tuple[str, str, int, frozenset[str] | None], tuple[tuple[Machine, ...], ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _startable: dict[tuple[str, str, int], tuple[Machine, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _services: dict[tuple[str, str, int], Service | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {machine.id: machine for machine in self.machines})
        object.__setattr__(self, "_regions", frozenset(machine.region for machine in self.machines))

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

    def by_distance(self, app: str, edge: str) -> tuple[tuple[Machine, ...], ...]:
        """All machines of `app`, in groups of equal distance from `edge`, closest first."""
        groups: dict[float, list[Machine]] = {}
        for machine in self.of_app(app):
            groups.setdefault(distance_km(edge, machine.region), []).append(machine)
        return tuple(tuple(groups[distance]) for distance in sorted(groups))

    def candidates_by_distance(
        self, app: str, edge: str, port: int, inside: frozenset[str] | None = None
    ) -> tuple[tuple[Machine, ...], ...]:
        """The machines of `app` that accept requests on a public port, grouped by distance from `edge`, closest first.

        `inside` limits them to these regions. No group is empty.
        """
        if inside is not None:
            inside &= self._regions  # bounds the cache: apps can ask for any made-up region code
        key = (app, edge, port, inside)
        groups = self._candidates.get(key)
        if groups is None:
            groups = self._candidates[key] = tuple(
                chosen
                for group in self.by_distance(app, edge)
                if (chosen := tuple(m for m in group if self._is_candidate(m, port, inside)))
            )
        return groups

    def _is_candidate(self, machine: Machine, port: int, inside: frozenset[str] | None) -> bool:
        is_inside = inside is None or machine.region in inside
        return is_inside and machine.is_candidate and self.find_service(machine, port) is not None

    def startable_by_distance(self, app: str, edge: str, port: int) -> tuple[Machine, ...]:
        """Machines that a request to a public port can start, or that are starting, closest first (F-5.25, F-5.26)."""
        key = (app, edge, port)
        if key not in self._startable:
            nearest = (machine for group in self.by_distance(app, edge) for machine in group)
            self._startable[key] = tuple(m for m in nearest if self.may_start(m, port) or m.is_starting)
        return self._startable[key]

    def may_start(self, machine: Machine, port: int) -> bool:
        """Whether a request to a public port may start `machine` (F-1.59, F-5.26)."""
        service = self.find_service(machine, port)
        return machine.is_startable and service is not None and service.autostart

    def find_service(self, machine: Machine, port: int) -> Service | None:
        """The service that `machine` offers on a public port (F-1.61)."""
        key = (machine.app, machine.group, port)
        if key not in self._services:
            self._services[key] = self.apps[machine.app].find_service(port, machine.group)
        return self._services[key]

    def port_of(self, machine: Machine, port: int) -> int:
        """The port on which `machine` is reached for a public port.

        `Machine.port` belongs to its first service; other services use the forwarding in `Machine.ports`.
        """
        service, services = self.find_service(machine, port), self.apps[machine.app].services
        first = next((each for each in services if each.is_offered_by(machine.group)), None)
        if service is None or first is None or service.internal_port == first.internal_port:
            return machine.port
        return forwarded_port(machine.ports, service.internal_port)

    def app_for_host(self, host: str) -> App | None:
        """The app of a `Host`: `<app>.fly.dev`, `<app>.flycast` (F-8.20) or a hostname; else the first app."""
        name = host.rsplit(":", 1)[0].lower() if not host.endswith("]") else host
        if not self._by_host:
            for app in reversed(list(self.apps.values())):  # if two apps claim a name, the first one wins
                names = (f"{app.name}.fly.dev", f"{app.name}.flycast", *app.hostnames)
                self._by_host.update(dict.fromkeys(names, app))
        return self._by_host.get(name) or self.first_app

    def with_app(self, app: App) -> Fleet:
        """A fleet in which `app` replaces the app of the same name, or is added."""
        return replace(self, apps={**self.apps, app.name: app})

    def with_machine(self, machine: Machine) -> Fleet:
        """A fleet in which `machine` replaces the machine of the same id, or is added."""
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
    service_port: int | None = None
    """The public port that the edge's port represents; None: 80, or 443 with TLS (F-9.1)."""

    @property
    def public_port(self) -> int:
        if self.service_port is not None:
            return self.service_port
        return HTTPS_PORT if self.scheme == "https" else HTTP_PORT

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def hostname(self) -> str:
        """`host` without its port, in lower case."""
        host = self.host.lower()
        return host if host.endswith("]") else host.rpartition(":")[0] or host


@dataclass(frozen=True, slots=True)
class Response:
    """The head of a machine's response."""

    status: int
    fields: Fields
