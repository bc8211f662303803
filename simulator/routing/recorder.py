"""The trace of one exchange while it is being made; `trace` gives a frozen copy at any moment."""

from __future__ import annotations

from simulator.routing.errors import ProxyError
from simulator.routing.headers import cookie_names, telling_fields
from simulator.routing.model import Fields, Machine, Request
from simulator.routing.trace import Cause, Hop, Outcome, Trace

_LONGEST_REPLAY = 2000


class _Hop:
    """One hop under way; the names are those of `Hop`."""

    __slots__ = (
        "attempts", "cause", "ended_at", "failure", "fields", "machine", "note", "remarks", "replay", "sent",
        "started_at", "status",
    )  # fmt: skip

    def __init__(self, machine: Machine, cause: Cause, sent: Fields, started_at: float) -> None:
        self.machine = machine
        self.cause = cause
        self.sent = sent
        self.started_at = started_at
        self.ended_at: float | None = None
        self.attempts = 1
        self.status: int | None = None
        self.failure: str | None = None
        self.replay: str | None = None
        self.note: str | None = None
        self.remarks: tuple[str, ...] = ()
        self.fields: Fields = ()

    def frozen(self) -> Hop:
        machine = self.machine
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
            self._words(),
            sent=tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in self.sent),
            received=telling_fields(self.fields),
        )

    def _words(self) -> str | None:
        return "; ".join((self.note, *self.remarks) if self.note else self.remarks) or None


class Recorder:
    """Takes down what an exchange does."""

    def __init__(self, request: Request, edge: str, app: str, request_id: str, now: float) -> None:
        self._request = request
        self._edge = edge
        self._app = app
        self._request_id = request_id
        self._started_at = now
        self._hops: list[_Hop] = []
        self._outcome = Outcome.PENDING
        self._status: int | None = None
        self._error: ProxyError | None = None
        self._answered_at: float | None = None
        self._ended_at: float | None = None
        self._close_code: int | None = None
        self._warnings: list[str] = []

    def open_hop(
        self, machine: Machine, cause: Cause, sent: Fields, now: float, note: str | None = None
    ) -> None:
        """A delivery begins. One more try of the machine that just failed is counted, not listed again."""
        last = self._hops[-1] if self._hops else None
        if cause is Cause.RETRY and last is not None and last.machine.id == machine.id:
            last.attempts += 1
        else:
            self._hops.append(_Hop(machine, cause, sent, now))
        self._hops[-1].note = note

    def close_hop(
        self,
        now: float,
        *,
        status: int | None = None,
        failure: str | None = None,
        replay: str | None = None,
        fields: Fields = (),
    ) -> None:
        hop = self._hops[-1]
        hop.ended_at, hop.status, hop.failure, hop.replay, hop.fields = now, status, failure, replay, fields

    def remark(self, words: str) -> None:
        """Of the last delivery, whichever of its attempts it befell."""
        hop = self._hops[-1]
        if words not in hop.remarks:
            hop.remarks = (*hop.remarks, words)

    def tell_replay(self, body: bytes) -> None:
        """The replay body that the last machine answered with, as text."""
        self._hops[-1].replay = body[:_LONGEST_REPLAY].decode("utf-8", "replace")

    def warn(self, *warnings: str) -> None:
        self._warnings += [warning for warning in warnings if warning not in self._warnings]

    def relay(self, status: int, now: float) -> None:
        self._outcome, self._status, self._answered_at = Outcome.RELAYED, status, now

    def redirect(self, status: int, now: float) -> None:
        self._outcome, self._status, self._answered_at = Outcome.REDIRECTED, status, now

    def reject(self, error: ProxyError, status: int, now: float) -> None:
        self._outcome, self._status, self._answered_at, self._error = Outcome.REJECTED, status, now, error

    def finish(self, now: float, outcome: Outcome | None, close_code: int | None) -> None:
        if self._hops and self._hops[-1].ended_at is None:
            self.close_hop(now, failure="the client left")
        self._ended_at, self._close_code = now, close_code
        self._outcome = outcome or self._outcome

    def trace(self) -> Trace:
        request, error = self._request, self._error
        return Trace(
            request_id=self._request_id,
            edge=self._edge,
            app=self._app,
            method=request.method,
            target=request.target,
            host=request.host,
            scheme=request.scheme,
            started_at=self._started_at,
            hops=tuple([hop.frozen() for hop in self._hops]),
            outcome=self._outcome,
            status=self._status,
            error=error.code if error else None,
            message=error.message if error else None,
            answered_at=self._answered_at,
            ended_at=self._ended_at,
            websocket=self._outcome is not Outcome.REJECTED and self._status == 101,
            close_code=self._close_code,
            warnings=tuple(self._warnings),
            cookies_sent=cookie_names(request.fields),
        )
