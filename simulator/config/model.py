"""Configuration model: edges, apps, machines and routing options as frozen, validated values.

The rest of flysim works with these values only; the other modules of this package create them from files.
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
"""Names of placeholders, which are replaced in commands and env values; the values differ by machine."""
_ULID_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

__all__ = ["DEFAULT_CONTROL_PORT", "PLACEHOLDERS", "AppConfig", "Check", "Config", "FlyToml", "MachineSpec"]


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """Everything that is needed to run one machine."""

    id: str
    name: str
    app: str
    region: str
    command: tuple[str, ...] = ()
    """Placeholders are not replaced yet: {host} {port} {machine_id} {region} {dns} {python}."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The app's own variables, without FLY_* and PORT. Placeholders are not replaced yet."""
    cwd: Path = field(default_factory=Path)
    url: str | None = None
    """URL of a server that already runs; flysim only routes to it."""
    lookup: str | None = None
    """DNS name that resolves to the machine's address while it runs; flysim only routes to it."""
    is_adopted: bool = False
    """Created outside flysim, for example by Docker Compose. flysim adopts it and leaves it as it was."""
    image: str | None = None
    image_folder: Path | None = None
    """Folder of the image's Dockerfile, if flysim builds the image."""
    image_command: tuple[str, ...] = ()
    """Replaces the image's default command: the command of the machine's process group in fly.toml."""
    internal_port: int = DEFAULT_INTERNAL_PORT
    further_ports: tuple[int, ...] = ()
    """Internal ports of the app's services after the first."""
    listens: bool = True
    """Whether a service routes to it. A machine without one, such as a worker, need not listen (F-9.15)."""
    group: str = DEFAULT_GROUP
    memory_mb: int = DEFAULT_MEMORY_MB
    primary_region: str | None = None
    checks: tuple[Check, ...] = ()
    kill_signal: str = "SIGINT"
    kill_timeout_seconds: float = 5.0
    start_timeout_seconds: float = DEFAULT_START_SECONDS
    """Maximum time to become healthy after a start."""

    @property
    def is_external(self) -> bool:
        """Whether flysim only routes to it and does not start or stop it."""
        return self.url is not None or self.lookup is not None

    @property
    def may_run_already(self) -> bool:
        """Whether it can run before flysim starts it, so that the backend must report its state."""
        return self.is_adopted or self.lookup is not None

    @property
    def all_ports(self) -> tuple[int, ...]:
        """Ports that the proxy or a check connects to; the first is the internal port of its first service."""
        checked = (check.port for check in self.checks if check.port)
        return tuple(dict.fromkeys((self.internal_port, *self.further_ports, *checked)))

    @property
    def has_own_address(self) -> bool:
        """Whether it gets its own loopback address, where it listens on the app's internal ports."""
        return any("{host}" in text for text in (*self.command, *self.env.values()))

    @property
    def version(self) -> str:
        """Fly's version id of the machine's configuration, a ULID; it changes with the configuration (F-7.8)."""
        number = int.from_bytes(sha256(repr(self).encode()).digest())
        return "01J" + "".join(_ULID_DIGITS[(number >> (5 * place)) % 32] for place in range(23))


@dataclass(frozen=True, slots=True)
class AppConfig:
    app: App
    machines: tuple[MachineSpec, ...]
    fly: FlyToml | None = None
    """The app's own fly.toml, if there is one."""
    start_timeout_seconds: float = DEFAULT_START_SECONDS
    """Also applies to machines that Docker Compose or Swarm creates."""


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one run."""

    folder: Path
    """Relative paths start here."""
    edges: Mapping[str, int]
    """Region of the edge -> local port for public ports 80 and 443; 0 for any free port. In file order."""
    apps: tuple[AppConfig, ...]
    path: Path | None = None
    extra_ports: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """(region of the edge, public port) -> local port, for other public ports; 0 for any free port."""
    control_port: int = DEFAULT_CONTROL_PORT
    routing: RoutingOptions = field(default_factory=RoutingOptions)
    warnings: tuple[str, ...] = ()
    """Warnings about settings that are not emulated or have no effect, with file and line."""

    @property
    def machines(self) -> tuple[MachineSpec, ...]:
        return tuple(machine for app in self.apps for machine in app.machines)
