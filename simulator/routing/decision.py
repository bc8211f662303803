"""What the proxy is to do next, as values."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.routing.errors import ProxyError
from simulator.routing.model import Fields, Machine


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send the request to this machine; then report with `receive` or `fail`."""

    machine: Machine
    port: int
    """Where the machine's service listens."""
    target: str
    """Path and query."""
    fields: Fields
    connect_seconds: float
    """How long a connection may take before the delivery counts as failed."""
    wait_seconds: float = 0.0
    """How long to wait first, on the simulated clock."""
    h2: bool = False
    """Speak HTTP/2 to it, by prior knowledge (F-9.5)."""


@dataclass(frozen=True, slots=True)
class ReadBody:
    """The response's body says what to do: read so much of it, then report with `receive_body`."""

    max_bytes: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done yet: ask again with `resume`, after so many seconds."""

    wait_seconds: float
    really: bool
    """Something real is waited for (a machine that starts, a free place), which no simulated clock can skip."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Pass the machine's response on, with these header fields."""

    fields: Fields


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer in the proxy's own name: the same thing is to be had over TLS (F-4.26)."""

    location: str
    status: int = 301


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer in the proxy's own name: this status, an empty body; the reason goes into the log of `log_app`."""

    error: ProxyError
    status: int
    log_app: str
    log_machine_id: str | None
    log_region: str
    wait_seconds: float = 0.0


Decision = Deliver | ReadBody | Wait | Relay | Redirect | Reject
