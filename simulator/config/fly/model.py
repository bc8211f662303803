"""Model of a validated fly.toml: services, health checks, process groups and env.

`warnings` lists the settings that flysim does not emulate. Defaults: F-5.8, F-5.20, F-5.27, F-9.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from simulator.config.source import Source
from simulator.config.toml_positions import KeyPath
from simulator.routing.service import Service

DEFAULT_INTERNAL_PORT = Service().internal_port
DEFAULT_GROUP = "app"
DEFAULT_MEMORY_MB = 256


@dataclass(frozen=True, slots=True)
class Check:
    """One service-level health check; durations in seconds (F-5.19 to F-5.22)."""

    type: str  # "tcp" or "http"
    port: int | None = None  # None: the service's internal port
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    grace_seconds: float = 1.0
    interval_seconds: float = 15.0
    timeout_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class FlyService(Service):
    """A routed service plus the settings of fly.toml that routing does not need."""

    protocol: str = "tcp"  # or "udp", which flysim does not route
    concurrency_type: str = "connections"  # or "requests" (F-5.7)
    checks: tuple[Check, ...] = ()
    key_path: KeyPath = field(default=(), repr=False, compare=False)
    """Path of its table in fly.toml."""


@dataclass(frozen=True, slots=True)
class FlyToml:
    """A validated fly.toml."""

    path: Path
    app: str | None = None
    primary_region: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    services: tuple[FlyService, ...] = ()
    processes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Process group -> its command."""
    image: str | None = None
    memory_mb: Mapping[str | None, int] = field(default_factory=dict)
    """Process group -> memory in MB; the key None applies to all other groups."""
    kill_signal: str = "SIGINT"
    kill_timeout_seconds: float = 5.0
    warnings: tuple[str, ...] = ()
    source: Source | None = field(default=None, repr=False, compare=False)

    @property
    def group(self) -> str:
        """Default process group of a machine: the group of the first service, otherwise the first group."""
        named = [group for service in self.services for group in service.groups]
        if not named and DEFAULT_GROUP in self.processes:
            return DEFAULT_GROUP
        return next(iter([*named, *self.processes]), DEFAULT_GROUP)

    @property
    def groups(self) -> tuple[str, ...]:
        """All process groups that the file mentions. A group without a command runs the image's default command."""
        named = (group for service in self.services for group in service.groups)
        return tuple(dict.fromkeys([*self.processes, *named])) or (DEFAULT_GROUP,)

    @property
    def routed_services(self) -> tuple[FlyService, ...]:
        """Services that flysim routes, which are those on TCP. Without any, the app is unreachable (F-9.18)."""
        return tuple(service for service in self.services if service.protocol == "tcp")

    def services_of(self, group: str) -> tuple[FlyService, ...]:
        return tuple(service for service in self.services if service.is_offered_by(group))

    def memory_of(self, group: str) -> int:
        return self.memory_mb.get(group, self.memory_mb.get(None, DEFAULT_MEMORY_MB))

    def format_warning(self, at: KeyPath, message: str) -> str:
        """Prefixes a message with the file and the line of the key at `at`."""
        line = self.source.line(at) if self.source and at else None
        return f"{self.path}:{line}: {message}" if line else f"{self.path}: {message}"
