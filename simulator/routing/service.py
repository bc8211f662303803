"""Services of an app, from its `fly.toml`: public ports, handlers, limits, HTTP options (facts 5 and 9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from simulator.routing.cache.rule import CacheRule

HTTP_PORT = 80
HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """`http_options` of a port (F-9.5, F-9.7, F-9.10, F-9.11)."""

    pristine: bool = False
    """Leave Server, Via, Fly-Request-Id and Fly-Cache-Status unchanged (F-4.24)."""
    response_headers: tuple[tuple[str, tuple[str, ...] | None], ...] = ()
    """(name, values to add) pairs; None removes the header (F-4.25)."""
    idle_timeout_seconds: float | None = None
    h2_backend: bool = False
    cache_rules: tuple[CacheRule, ...] = ()


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One public port or range, and the handlers of its connections (F-9.1, F-9.4, F-9.6)."""

    start: int
    end: int
    handlers: tuple[str, ...] = ("http",)
    force_https: bool = False
    http: HttpOptions = field(default_factory=HttpOptions)
    proxy_proto: str = "v1"
    """Version of the PROXY protocol that the `proxy_proto` handler sends: v1 or v2 (F-9.13)."""

    @property
    def speaks_http(self) -> bool:
        """Whether it has the `http` handler; else bytes pass through raw, without Fly headers (F-9.4, F-1.28)."""
        return "http" in self.handlers


class Autostop(StrEnum):
    """What autostop does with an idle machine (F-5.35)."""

    OFF = "off"
    STOP = "stop"
    SUSPEND = "suspend"


@dataclass(frozen=True, slots=True)
class Service:
    """`[http_service]` or one of `[[services]]`. The defaults are those of fly.toml (F-5.8, F-5.27, F-9.2)."""

    internal_port: int = 8080
    ports: tuple[ServicePort, ...] = (
        ServicePort(HTTP_PORT, HTTP_PORT, ("http",)),
        ServicePort(HTTPS_PORT, HTTPS_PORT, ("tls", "http")),
    )
    groups: tuple[str, ...] = ()
    """Process groups that offer the service; empty: all (F-9.15)."""
    soft_limit: int = 20
    hard_limit: int | None = None
    autostart: bool = True
    autostop: Autostop = Autostop.OFF
    min_machines_running: int = 0

    def find_port(self, number: int) -> ServicePort | None:
        return next((port for port in self.ports if port.start <= number <= port.end), None)

    def is_offered_by(self, group: str) -> bool:
        return not self.groups or group in self.groups
