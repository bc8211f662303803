"""The app's own fly.toml, read: its services, checks, process groups and variables.

Not all of it is emulated; what is not, is in `warnings`. Defaults: F-5.8, F-5.20, F-5.27, F-9.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_INTERNAL_PORT = 8080
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
class Concurrency:
    """How load is counted, and its limits per machine and service (F-5.7 to F-5.9)."""

    type: str = "connections"  # or "requests"
    soft_limit: int = 20
    hard_limit: int | None = None


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One public port, or a range, and what handles its connections (F-9.1, F-9.4, F-9.6)."""

    start: int
    end: int
    handlers: tuple[str, ...] = ()
    force_https: bool = False
    http_options: Mapping[str, Any] = field(default_factory=dict)
    """As written: idle_timeout, h2_backend, response, replay_cache …"""
    tls_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """`[http_service]` or one of `[[services]]`; the former has ports 80 and 443 (F-9.1)."""

    internal_port: int = DEFAULT_INTERNAL_PORT
    protocol: str = "tcp"
    ports: tuple[ServicePort, ...] = ()
    processes: tuple[str, ...] = ()
    concurrency: Concurrency = Concurrency()
    auto_stop: str = "off"  # or "stop", "suspend" (F-5.35)
    auto_start: bool = True
    min_machines_running: int = 0
    checks: tuple[Check, ...] = ()

    def covers(self, group: str) -> bool:
        """Whether machines of this process group offer it (F-9.15)."""
        return not self.processes or group in self.processes


@dataclass(frozen=True, slots=True)
class FlyToml:
    """A fly.toml that has been found right."""

    path: Path
    app: str | None = None
    primary_region: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    services: tuple[Service, ...] = ()
    processes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Process group -> its command."""
    image: str | None = None
    memory_mb: Mapping[str | None, int] = field(default_factory=dict)
    """Process group -> memory; None: every other group."""
    kill_signal: str = "SIGINT"
    kill_timeout_seconds: float = 5.0
    warnings: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The process group that machines belong to here: that of the first service, else the first there is."""
        named = [group for service in self.services for group in service.processes]
        if not named and DEFAULT_GROUP in self.processes:
            return DEFAULT_GROUP
        return next(iter([*named, *self.processes]), DEFAULT_GROUP)

    def services_of(self, group: str) -> tuple[Service, ...]:
        return tuple(service for service in self.services if service.covers(group))

    def memory_of(self, group: str) -> int:
        return self.memory_mb.get(group, self.memory_mb.get(None, DEFAULT_MEMORY_MB))
