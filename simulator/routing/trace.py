"""Trace of one exchange: each hop with its machine, cause and response, and the final outcome for the client.

An exchange writes it with a `TraceRecorder`. CLI, reports, dashboard and diagnosis read the frozen `Trace` and
nothing else. Times are seconds since the Unix epoch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from simulator.routing.errors import ProxyError
from simulator.routing.headers import cookie_names, shown_fields
from simulator.routing.model import Fields, Machine, Request
from simulator.text import show_bytes

_MAX_REPLAY_BYTES = 2000
"""How much of a replay body a trace keeps."""

FAULT = "fault"
"""Prefix of log lines and hop notes that report an injected fault."""


class Cause(StrEnum):
    """Why a delivery was made."""

    ROUTED = "routed"  # the proxy chose the machine for a new request
    REPLAY = "replay"  # a machine asked for it with fly-replay
    RETRY = "retry"  # the proxy retried on its own
    CACHED = "cached"  # the replay was cached, the origin was not asked
    FALLBACK = "fallback"  # a replay failed and its directive named a fallback


@dataclass(frozen=True, slots=True)
class Hop:
    """One delivery and its response."""

    machine_id: str
    machine: str
    """The name of the machine."""
    app: str
    region: str
    cause: Cause
    started_at: float
    ended_at: float | None = None
    attempts: int = 1
    """How many consecutive times the proxy tried this machine."""
    status: int | None = None
    failure: str | None = None
    """Why there is no response: the proxy's error code and text."""
    replay: str | None = None
    """The `fly-replay` value or the start of the replay body in the response."""
    note: str | None = None
    """What the delivery waited for (the start of a machine, a queue), and injected faults, joined by `; `."""
    sent: tuple[tuple[str, str], ...] = ()
    """The request headers that the proxy added for this delivery only."""
    received: tuple[tuple[str, str], ...] = ()
    """The relevant response headers: fly-*, location, set-cookie, content-type, connection, upgrade, retry-after."""


class Outcome(StrEnum):
    PENDING = "pending"
    RELAYED = "relayed"
    REJECTED = "rejected"
    REDIRECTED = "redirected"  # the proxy redirected the client to https
    CLIENT_LEFT = "client_left"
    BROKEN = "broken"  # the machine, or a bug in flysim, ended the response within its body


@dataclass(frozen=True, slots=True)
class Trace:
    """One client request up to its final response.

    Bytes of the request that are not UTF-8 appear as in `/caf\\xe9` (`simulator.text`).
    """

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
    """The status that the client got."""
    error: str | None = None
    """The proxy's error code, such as PA02, or BUG for a bug in flysim."""
    message: str | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    websocket: bool = False
    close_code: int | None = None
    warnings: tuple[str, ...] = ()
    """What flysim accepted, but Fly might not."""
    cookies_sent: tuple[str, ...] = ()
    """Names of the cookies that the client sent."""

    @property
    def path(self) -> tuple[str, ...]:
        """The names of the machines, hop by hop."""
        return tuple(hop.machine for hop in self.hops)

    @property
    def served_by(self) -> str | None:
        """The name of the machine whose response the client got, if any."""
        answered = self.status is not None and self.outcome is not Outcome.REJECTED
        return self.hops[-1].machine if self.hops and answered else None

    def as_dict(self) -> dict[str, Any]:
        """The trace as JSON-compatible values, for the control API and reports."""
        return asdict(self) | {"path": list(self.path), "served_by": self.served_by}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Trace:
        """The reverse of `as_dict`; ignores unknown keys, so that clients can read traces of a later version."""
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


@dataclass(slots=True)
class _OpenHop:
    """A hop that can still change; the fields are those of `Hop`."""

    machine: Machine
    cause: Cause
    sent: Fields
    started_at: float
    ended_at: float | None = None
    attempts: int = 1
    status: int | None = None
    failure: str | None = None
    replay: str | None = None
    wait_note: str | None = None
    notes: tuple[str, ...] = ()
    received: Fields = ()
    frozen: Hop | None = None
    """The result of `freeze`, until the hop changes."""

    def freeze(self) -> Hop:
        if self.frozen is None:
            self.frozen = self._freeze()
        return self.frozen

    def _freeze(self) -> Hop:
        machine = self.machine
        notes = (self.wait_note, *self.notes) if self.wait_note else self.notes
        return Hop(
            machine.id,
            machine.name,
            machine.app,
            machine.region,
            self.cause,
            self.started_at,
            self.ended_at,
            self.attempts,
            self.status,
            self.failure,
            self.replay,
            "; ".join(notes) or None,
            sent=tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in self.sent),
            received=shown_fields(self.received),
        )


class TraceRecorder:
    """Records the steps of one exchange; `trace` returns a frozen copy at any time."""

    def __init__(self, request: Request, edge: str, app: str, request_id: str, now: float) -> None:
        self._request = request
        self._edge = edge
        self._app = app
        self._request_id = request_id
        self._started_at = now
        self._hops: list[_OpenHop] = []
        self._outcome = Outcome.PENDING
        self._status: int | None = None
        self._error: ProxyError | None = None
        self._answered_at: float | None = None
        self._ended_at: float | None = None
        self._close_code: int | None = None
        self._warnings: list[str] = []
        self._cookies = cookie_names(request.fields)

    def open_hop(
        self, machine: Machine, cause: Cause, sent: Fields, now: float, wait_note: str | None = None
    ) -> None:
        """A delivery starts. A retry of the machine that just failed is counted in its hop."""
        last = self._hops[-1] if self._hops else None
        if cause is Cause.RETRY and last is not None and last.machine.id == machine.id:
            last.attempts += 1
        else:
            self._hops.append(_OpenHop(machine, cause, sent, now))
        self._changing_hop().wait_note = wait_note

    def _changing_hop(self) -> _OpenHop:
        """The last hop, to be changed."""
        hop = self._hops[-1]
        hop.frozen = None
        return hop

    def close_hop(
        self,
        now: float,
        *,
        status: int | None = None,
        failure: str | None = None,
        replay: str | None = None,
        fields: Fields = (),
    ) -> None:
        hop = self._changing_hop()
        hop.ended_at, hop.status, hop.failure, hop.replay, hop.received = now, status, failure, replay, fields

    def add_note(self, note: str) -> None:
        """Add a note to the last hop, once for all its attempts."""
        hop = self._changing_hop()
        if note not in hop.notes:
            hop.notes = (*hop.notes, note)

    def set_replay_body(self, body: bytes) -> None:
        """Show the start of the replay body as the `replay` of the last hop."""
        self._changing_hop().replay = body[:_MAX_REPLAY_BYTES].decode("utf-8", "backslashreplace")

    def warn(self, *warnings: str) -> None:
        self._warnings += [warning for warning in warnings if warning not in self._warnings]

    def relay(self, status: int, now: float) -> None:
        self._outcome, self._status, self._answered_at = Outcome.RELAYED, status, now

    def redirect(self, status: int, now: float) -> None:
        self._outcome, self._status, self._answered_at = Outcome.REDIRECTED, status, now

    def reject(self, error: ProxyError, status: int, now: float) -> None:
        self._outcome, self._status, self._answered_at, self._error = Outcome.REJECTED, status, now, error

    def abort(self, error: ProxyError, now: float) -> None:
        """A bug in flysim ends the exchange, before or after the client got a status."""
        if self._hops and self._hops[-1].ended_at is None:
            self.close_hop(now, failure=str(error))
        if self._status is None:
            self.reject(error, 502, now)
        else:
            self._outcome, self._error = Outcome.BROKEN, error

    def finish(self, now: float, outcome: Outcome | None, close_code: int | None) -> None:
        if self._hops and self._hops[-1].ended_at is None:
            self.close_hop(now, failure="the client disconnected")
        self._ended_at, self._close_code = now, close_code
        self._outcome = outcome or self._outcome

    def trace(self) -> Trace:
        request, error = self._request, self._error
        return Trace(
            request_id=self._request_id,
            edge=self._edge,
            app=self._app,
            method=show_bytes(request.method),
            target=show_bytes(request.target),
            host=show_bytes(request.host),
            scheme=request.scheme,
            started_at=self._started_at,
            hops=tuple([hop.freeze() for hop in self._hops]),
            outcome=self._outcome,
            status=self._status,
            error=error.code if error else None,
            message=show_bytes(error.message) if error else None,
            answered_at=self._answered_at,
            ended_at=self._ended_at,
            websocket=self._outcome is not Outcome.REJECTED and self._status == 101,
            close_code=self._close_code,
            warnings=tuple([show_bytes(warning) for warning in self._warnings]),
            cookies_sent=self._cookies,
        )
