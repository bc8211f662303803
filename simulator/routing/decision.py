"""Decisions of an exchange: what the proxy does next, as values."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.routing.errors import ProxyError
from simulator.routing.model import Fields, Machine


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send the request to this machine, then report the result with `receive` or `fail`."""

    machine: Machine
    port: int
    """The port on `machine.host` at which the machine's service is reached."""
    target: str
    """Path and query."""
    fields: Fields
    connect_seconds: float
    """Connect timeout; after it the delivery counts as failed."""
    wait_seconds: float = 0.0
    """How long to wait before the delivery, on the simulated clock."""
    h2: bool = False
    """Use HTTP/2 with prior knowledge (F-9.5)."""


@dataclass(frozen=True, slots=True)
class ReadBody:
    """The response body contains the replay: read it, up to `max_bytes`, then report it with `receive_body`."""

    max_bytes: int


@dataclass(frozen=True, slots=True)
class Wait:
    """No machine is ready yet: call `resume` after `wait_seconds`."""

    wait_seconds: float
    in_real_time: bool
    """Wait in real time for a machine that starts or is at its limit; else on the simulated clock."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Pass the machine's response on to the client, with these header fields."""

    fields: Fields


@dataclass(frozen=True, slots=True)
class Redirect:
    """Respond from the proxy itself with a redirect to https (F-4.26)."""

    location: str
    status: int = 301


@dataclass(frozen=True, slots=True)
class Reject:
    """Respond from the proxy itself with this status and an empty body; the error goes to the log of `log_app`."""

    error: ProxyError
    status: int
    log_app: str
    log_machine_id: str | None
    log_region: str
    wait_seconds: float = 0.0


Decision = Deliver | ReadBody | Wait | Relay | Redirect | Reject
