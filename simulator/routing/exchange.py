"""One client request to its final answer.

    decision = exchange.begin(now)                # Deliver or Reject
    decision = exchange.receive(response, now)    # Relay, Deliver (a replay) or Reject
    decision = exchange.fail(failure, now)        # Deliver (a retry or a fallback) or Reject

The caller carries decisions out and reports what came of them; all policy is here. The proxy ends replays by
count, as Fly does (F-1.38): naming the cycle is diagnosis.
"""

from __future__ import annotations

from typing import Protocol

from simulator.routing import errors
from simulator.routing.aim import aim_at_app, aim_at_fallback, aim_at_replay
from simulator.routing.decision import Decision, Deliver, Reject, Relay
from simulator.routing.directive import DirectiveError, ReplayDirective, parse_directive
from simulator.routing.errors import Failure, ProxyError
from simulator.routing.headers import FLY_REPLAY, find_field, overwrite, request_fields, response_fields
from simulator.routing.model import App, Fleet, Machine, Request, Response
from simulator.routing.options import MAX_REPLAYS, ROUTING_SECONDS, RoutingOptions
from simulator.routing.recorder import Recorder
from simulator.routing.selection import Chance, select
from simulator.routing.trace import Cause, Outcome, Trace


class Surroundings(Protocol):
    """What an exchange asks about while it lasts: the fleet as it is at that moment, the options, chance."""

    @property
    def fleet(self) -> Fleet: ...

    @property
    def options(self) -> RoutingOptions: ...

    @property
    def chance(self) -> Chance: ...


class Exchange:
    """The progress of one request. All times are seconds since the Unix epoch, on the simulated clock."""

    def __init__(
        self, request: Request, edge: str, app: App, request_id: str, now: float, router: Surroundings
    ) -> None:
        self.request = request
        self.request_id = request_id
        self._router = router
        self._edge = edge
        self._app = app
        self._base_fields = request_fields(
            request, edge, request_id, strip_forged=router.options.strip_forged_headers
        )
        self._aim = aim_at_app(app.name, now)
        self._replays = 0
        self._machine: Machine | None = None
        self._record = Recorder(request, edge, app.name, request_id, now)

    # What the caller reports.

    def begin(self, now: float) -> Decision:
        return self._choose(now)

    def receive(self, response: Response, now: float, *, body_kept: bool = True) -> Decision:
        """A response head came from the machine. `body_kept`: the request's body can still be sent again."""
        value = find_field(response.fields, FLY_REPLAY)
        self._record.close_hop(now, status=response.status, replay=value, fields=response.fields)
        if value is None:
            return self._relay(response, now)
        return self._replay(value, response.status, now, body_kept=body_kept)

    def fail(self, failure: Failure, now: float, *, body_kept: bool = True) -> Decision:
        """No response head came. `body_kept` as for `receive`."""
        machine, aim = self._delivered_to(), self._aim
        error = errors.delivery_error(failure, machine.port)
        self._record.close_hop(now, failure=str(error))
        if failure.reached_the_machine:
            return self._reject(error, 502, now, machine)
        if not body_kept:
            return self._reject(errors.BODY_TOO_LARGE, self._router.options.replay_error_status, now, machine)
        aim.attempts += 1
        aim.last_error = error
        aim.tried.add(machine.id)
        if not aim.seconds_left(now):
            return self._give_up("timeout", now)
        if aim.attempts >= self._router.options.attempts:
            return self._give_up("retries_exhausted", now)
        return self._choose(now)

    def finish(self, now: float, outcome: Outcome | None = None, close_code: int | None = None) -> Trace:
        """Nothing more comes; `outcome` where it differs from what the response head promised."""
        self._record.finish(now, outcome, close_code)
        return self.trace

    @property
    def trace(self) -> Trace:
        """The record so far."""
        return self._record.trace()

    # Replay.

    def _replay(self, value: str, status: int, now: float, *, body_kept: bool) -> Decision:
        source, error_status = self._delivered_to(), self._router.options.replay_error_status
        directive = self._admit(value, body_kept=body_kept)
        if isinstance(directive, ProxyError):
            return self._reject(directive, error_status, now, source)
        self._record.warn(*directive.warnings, *self._foreign_instance(directive, source))
        if status == 101:
            self._record.warn(
                "the app negotiated the upgrade itself and replayed: Fly asks apps not to (F-1.86)"
            )
        budget_seconds = self._budget_seconds(directive)
        refusal = self._refuse_app(source.app, directive.app)
        if refusal is not None:
            # Measured for an app that does not exist, as for a target that does not answer (F-1.51, F-1.63).
            # For a refusal nothing was: it needs no search.
            pause = budget_seconds if refusal.code == "PA04" else 0.0
            return self._reject(refusal, error_status, now, source, wait_seconds=pause)
        self._aim = aim_at_replay(directive, source, now, budget_seconds)
        return self._choose(now)

    def _admit(self, value: str, *, body_kept: bool) -> ReplayDirective | ProxyError:
        """The directive, or why no replay can follow it."""
        if self._aim.cause is Cause.FALLBACK:  # F-1.56, K-18
            return errors.replay_from_fallback()
        self._replays += 1
        if self._replays > MAX_REPLAYS:  # F-1.38
            return errors.TOO_MANY_REPLAYS
        try:
            lenient = self._router.options.lenient_region_list
            directive = parse_directive(value, lenient_region_list=lenient)
        except DirectiveError as problem:
            return errors.unparsable(str(problem))
        return directive if body_kept else errors.BODY_TOO_LARGE  # F-1.32

    def _budget_seconds(self, directive: ReplayDirective) -> float:
        """How long the proxy looks for the target (F-1.49, F-1.51)."""
        if directive.timeout_seconds is not None:
            return directive.timeout_seconds
        return self._router.options.replay_error_seconds

    def _foreign_instance(self, directive: ReplayDirective, source: Machine) -> tuple[str, ...]:
        """A combination that is not valid and that nothing can match (F-1.16, K-10)."""
        machine, app = self._router.fleet.find(directive.instance or ""), directive.app or source.app
        if machine is None or machine.app == app:
            return ()
        return (f"instance={machine.id} is a machine of app {machine.app}, not of {app}: nothing can match",)

    def _refuse_app(self, source: str, target: str | None) -> ProxyError | None:
        """Whether `app=` may be replayed to: it exists, same organization, same network (F-1.63, F-1.68)."""
        if target is None or target == source:
            return None
        apps = self._router.fleet.apps
        if target not in apps:
            return errors.app_not_found(source, target)
        if apps[source].org != apps[target].org:
            return errors.not_permitted(source, target)
        if apps[source].network != apps[target].network:
            return errors.cross_network(source, target)
        return None

    # Choosing and delivering.

    def _choose(self, now: float, wait_seconds: float = 0.0) -> Decision:
        machine = self._select()
        if machine is None and self._aim.tried:
            return self._start_over(now)
        if machine is None:
            return self._give_up("no_candidate", now, wait_seconds)
        return self._deliver(machine, now, wait_seconds)

    def _start_over(self, now: float) -> Decision:
        """Every machine was tried: all of them again after a pause, if there is time for one (F-5.41)."""
        aim = self._aim
        aim.tried.clear()
        machine = self._select()
        if machine is None:
            return self._give_up("no_candidate", now)
        pause = aim.pause_seconds()
        if pause >= aim.seconds_left(now):
            return self._give_up("timeout", now)
        return self._deliver(machine, now, pause)

    def _select(self) -> Machine | None:
        router, aim = self._router, self._aim
        return select(router.fleet, aim.target, self._edge, aim.tried, router.chance)

    def _deliver(self, machine: Machine, now: float, wait_seconds: float) -> Deliver:
        aim = self._aim
        extra = aim.fields_for(machine)
        self._machine = machine
        cause = Cause.RETRY if aim.attempts else aim.cause
        self._record.open_hop(machine, cause, extra, now + wait_seconds)
        # No time at all (K-6 set to 0) is time for one try.
        connect_seconds = aim.seconds_left(now + wait_seconds) or ROUTING_SECONDS
        # Where forged ones are stripped, none can be there to overwrite.
        stripped = self._router.options.strip_forged_headers
        fields = (*self._base_fields, *extra) if stripped else overwrite(self._base_fields, extra)
        return Deliver(machine, fields, connect_seconds, wait_seconds)

    def _give_up(self, reason: str, now: float, wait_seconds: float = 0.0) -> Decision:
        """No machine took the request: fall back if the replay said so, else PR03 or PR04 (F-1.53)."""
        aim, options = self._aim, self._router.options
        if aim.cause is Cause.REPLAY and reason != "retries_exhausted":  # F-1.51
            wait_seconds = aim.seconds_left(now)
        if aim.source and aim.directive and aim.directive.fallback:
            start = now + wait_seconds
            self._aim = aim_at_fallback(aim.directive.fallback, aim.source, aim, reason, start)
            return self._choose(now, wait_seconds)
        error = errors.no_candidate(options.attempts, aim.last_error)
        return self._reject(error, options.no_candidate_status, now, aim.source, wait_seconds=wait_seconds)

    def _relay(self, response: Response, now: float) -> Relay:
        self._record.relay(response.status, now)
        fields = response_fields(
            response.fields, self.request_id, self.request.http_version, replayed=self._replays > 0
        )
        return Relay(fields)

    def _reject(
        self, error: ProxyError, status: int, now: float, source: Machine | None, *, wait_seconds: float = 0.0
    ) -> Reject:
        self._record.reject(error, status, now + wait_seconds)
        return Reject(
            error,
            status,
            log_app=source.app if source else self._app.name,  # F-6.2
            log_machine_id=source.id if source else None,
            log_region=source.region if source else self._edge,
            wait_seconds=wait_seconds,
        )

    # What must be there by now.

    def _delivered_to(self) -> Machine:
        assert self._machine is not None, "nothing has been delivered yet"
        return self._machine
