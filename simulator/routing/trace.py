"""The record of one exchange: each hop with its machine, why it was made, what came back, and what the client saw.

CLI, reports, dashboard and diagnosis all read this and nothing else. Times are seconds since the Unix epoch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

FAULT = "fault"
"""What lines of the proxy's log, and notes of hops, begin with that tell of faults which were asked for."""


class Cause(StrEnum):
    """Why a delivery was made."""

    ROUTED = "routed"  # the proxy chose the machine for a new request
    REPLAY = "replay"  # a machine asked for it with fly-replay
    RETRY = "retry"  # the proxy tried again on its own
    CACHED = "cached"  # a remembered replay, the machine that asked for it was not asked again
    FALLBACK = "fallback"  # a replay failed and its directive named a fallback


@dataclass(frozen=True, slots=True)
class Hop:
    """One delivery and its answer."""

    machine_id: str
    machine: str
    app: str
    region: str
    cause: Cause
    started_at: float
    ended_at: float | None = None
    attempts: int = 1
    """How many times the proxy tried this machine in a row."""
    status: int | None = None
    failure: str | None = None
    """Why no answer came: the proxy's error code and its words."""
    replay: str | None = None
    """The `fly-replay` value that the machine answered with."""
    note: str | None = None
    """In words: what was waited for first (a machine that had to start, a place at a full one), and any fault."""
    sent: tuple[tuple[str, str], ...] = ()
    """The request headers that the proxy set for this delivery and that tell hops apart."""
    received: tuple[tuple[str, str], ...] = ()
    """The response headers that matter here: fly-*, location, set-cookie, content-type, connection, upgrade."""


class Outcome(StrEnum):
    PENDING = "pending"
    RELAYED = "relayed"
    REJECTED = "rejected"
    REDIRECTED = "redirected"  # the proxy sent the client to https
    CLIENT_LEFT = "client_left"
    BROKEN = "broken"  # the machine's connection ended in the middle of the response body


@dataclass(frozen=True, slots=True)
class Trace:
    """One client request to its final answer."""

    request_id: str
    edge: str
    app: str
    method: str
    target: str
    host: str
    scheme: str
    started_at: float
    hops: tuple[Hop, ...] = ()
    outcome: Outcome = Outcome.PENDING
    status: int | None = None
    """What the client saw."""
    error: str | None = None
    """The proxy's error code, such as PA02."""
    message: str | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    websocket: bool = False
    close_code: int | None = None
    warnings: tuple[str, ...] = ()
    """What the proxy accepted but Fly might not, in words."""
    cookies_sent: tuple[str, ...] = ()
    """Names of the cookies that the client sent."""

    @property
    def path(self) -> tuple[str, ...]:
        """The names of the machines, hop by hop."""
        return tuple(hop.machine for hop in self.hops)

    @property
    def served_by(self) -> str | None:
        """The name of the machine whose answer the client got, if any did."""
        answered = self.status is not None and self.outcome is not Outcome.REJECTED
        return self.hops[-1].machine if self.hops and answered else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the control API, reports."""
        return asdict(self) | {"path": list(self.path), "served_by": self.served_by}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Trace:
        """The reverse of `as_dict`, for clients of the control API."""
        known = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        known["hops"] = tuple(
            Hop(
                **{
                    **hop,
                    "cause": Cause(hop["cause"]),
                    "sent": tuple((name, value) for name, value in hop["sent"]),
                    "received": tuple((name, value) for name, value in hop["received"]),
                }
            )
            for hop in data["hops"]
        )
        known["outcome"] = Outcome(data["outcome"])
        known["warnings"] = tuple(data["warnings"])
        known["cookies_sent"] = tuple(data["cookies_sent"])
        return cls(**known)
