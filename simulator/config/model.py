"""A configuration that has been read and found right: edges, apps, machines and the proxy's options.

These are the frozen values that the rest of flysim works from; how they are read from files is told in the
modules beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from simulator.config.fly.model import DEFAULT_GROUP, DEFAULT_INTERNAL_PORT, DEFAULT_MEMORY_MB, Check, FlyToml
from simulator.routing.model import App
from simulator.routing.options import RoutingOptions

DEFAULT_CONTROL_PORT = 4280
DEFAULT_START_SECONDS = 30.0
PLACEHOLDERS = ("host", "port", "machine_id", "region", "dns", "python")
"""Between braces, in commands and values of variables; each machine has its own words for them."""
_ULID_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

__all__ = ["DEFAULT_CONTROL_PORT", "PLACEHOLDERS", "AppConfig", "Check", "Config", "FlyToml", "MachineSpec"]


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What it takes to run one machine."""

    id: str
    name: str
    app: str
    region: str
    command: tuple[str, ...] = ()
    """With the placeholders still in it: {host} {port} {machine_id} {region} {dns} {python}."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The app's own variables, placeholders still in the values; FLY_* and PORT are not among them."""
    cwd: Path = field(default_factory=Path)
    url: str | None = None
    """A server that is already running and that flysim only routes to."""
    lookup: str | None = None
    """The name by which the network's own DNS tells whether it runs, and where; flysim only routes to it."""
    is_taken: bool = False
    """Somebody else made it, such as Docker Compose: it is taken as it is, and left as it was."""
    image: str | None = None
    image_folder: Path | None = None
    """Where the image's Dockerfile is, if it is to be built from there."""
    image_command: tuple[str, ...] = ()
    """What runs in the image in the place of its own command: that of its process group in fly.toml."""
    internal_port: int = DEFAULT_INTERNAL_PORT
    further_ports: tuple[int, ...] = ()
    """Where it listens for services of its app other than the first."""
    listens: bool = True
    """Whether a service leads to it; one that none does, such as a worker, may listen nowhere (F-9.15)."""
    group: str = DEFAULT_GROUP
    memory_mb: int = DEFAULT_MEMORY_MB
    primary_region: str | None = None
    checks: tuple[Check, ...] = ()
    kill_signal: str = "SIGINT"
    kill_timeout_seconds: float = 5.0
    start_timeout_seconds: float = DEFAULT_START_SECONDS
    """How long it may take to become healthy."""

    @property
    def is_external(self) -> bool:
        """Whether it is run by somebody else altogether, and flysim only routes to it."""
        return self.url is not None or self.lookup is not None

    @property
    def is_found(self) -> bool:
        """Whether its backend tells when it runs, without having been told to start it."""
        return self.is_taken or self.lookup is not None

    @property
    def all_ports(self) -> tuple[int, ...]:
        """Those that the proxy or a check may come by; the first is that of its first service."""
        checked = (check.port for check in self.checks if check.port)
        return tuple(dict.fromkeys((self.internal_port, *self.further_ports, *checked)))

    @property
    def has_own_address(self) -> bool:
        """Whether it gets a loopback address of its own and listens on the app's internal port there."""
        return any("{host}" in text for text in (*self.command, *self.env.values()))

    @property
    def version(self) -> str:
        """Fly's id of a configuration, a ULID: another one for every other configuration (F-7.8)."""
        number = int.from_bytes(sha256(repr(self).encode()).digest())
        return "01J" + "".join(_ULID_DIGITS[(number >> (5 * place)) % 32] for place in range(23))


@dataclass(frozen=True, slots=True)
class AppConfig:
    app: App
    machines: tuple[MachineSpec, ...]
    fly: FlyToml | None = None
    """The app's own fly.toml, if it is known."""
    start_timeout_seconds: float = DEFAULT_START_SECONDS
    """Of each of its machines, whoever makes them."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that a run needs to know. `folder` is where relative paths start."""

    folder: Path
    edges: Mapping[str, int]
    """Region of the edge -> port of its public ports 80 and 443; 0 takes a free one. In the order of the file."""
    apps: tuple[AppConfig, ...]
    path: Path | None = None
    extra_ports: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """(region of the edge, public port other than 80 and 443) -> port here; 0 takes a free one."""
    control_port: int = DEFAULT_CONTROL_PORT
    routing: RoutingOptions = field(default_factory=RoutingOptions)
    warnings: tuple[str, ...] = ()
    """What was read but will not be emulated, in words."""

    @property
    def machines(self) -> tuple[MachineSpec, ...]:
        return tuple(machine for app in self.apps for machine in app.machines)
