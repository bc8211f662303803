"""What the proxy is to do next, as values: deliver, relay or reject."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.routing.errors import ProxyError
from simulator.routing.model import Fields, Machine


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send the request, with these header fields, to this machine."""

    machine: Machine
    fields: Fields
    connect_seconds: float
    """How long a connection may take before the delivery counts as failed."""
    wait_seconds: float = 0.0
    """How long to wait first, on the simulated clock."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Pass the machine's response on, with these header fields."""

    fields: Fields


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer in the proxy's own name: this status, an empty body; the reason goes into the log of `log_app`."""

    error: ProxyError
    status: int
    log_app: str
    log_machine_id: str | None
    log_region: str
    wait_seconds: float = 0.0


Decision = Deliver | Relay | Reject
