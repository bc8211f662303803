"""One client request to its final answer.

    decision = exchange.begin(now)                # Deliver or Reject
    decision = exchange.receive(response, now)    # Relay, Deliver (a replay) or Reject
    decision = exchange.fail(failure, now)        # Deliver (a retry or a fallback) or Reject

The caller carries decisions out and reports what came of them; all policy is here. The proxy ends replays by
count, as Fly does (F-1.38): naming the cycle is diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from simulator.routing import errors
from simulator.routing.decision import Decision, Deliver, Reject, Relay
from simulator.routing.directive import DirectiveError, Fallback, ReplayDirective, parse_directive
from simulator.routing.errors import Failure, ProxyError
from simulator.routing.headers import (
    FLY_PREFERRED_INSTANCE_UNAVAILABLE,
    FLY_REPLAY,
    FLY_REPLAY_CACHE_STATUS,
    FLY_REPLAY_FAILED,
    FLY_REPLAY_SRC,
    FailedReplay,
    find_field,
    overwrite,
    replay_src,
    request_fields,
    response_fields,
)
from simulator.routing.model import App, Fields, Fleet, Machine, Request, Response
from simulator.routing.options import MAX_REPLAYS, ROUTING_SECONDS, RoutingOptions
from simulator.routing.recorder import Recorder
from simulator.routing.selection import Chance, Target, select
from simulator.routing.trace import Cause, Outcome, Trace

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
"""Back-off between rounds of attempts (F-5.41); Fly does not publish its steps."""


class Surroundings(Protocol):
    """What an exchange asks about while it lasts: the fleet as it is at that moment, the options, chance."""

    @property
    def fleet(self) -> Fleet: ...

    @property
    def options(self) -> RoutingOptions: ...

    @property
    def chance(self) -> Chance: ...


@dataclass(slots=True)
class _Aim:
    """What the deliveries that are under way are for; retries keep it, a replay or fallback makes a new one."""

    target: Target
    cause: Cause
    since: float
    budget_seconds: float
    extra: Fields = ()
    directive: ReplayDirective | None = None
    source: Machine | None = None
    attempts: int = 0
    last_error: ProxyError | None = None

    def seconds_left(self, now: float) -> float:
        return max(0.0, self.since + self.budget_seconds - now)


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
        self._aim = _Aim(Target(app.name), Cause.ROUTED, now, ROUTING_SECONDS)
        self._tried: set[str] = set()
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
        self._tried.add(machine.id)
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
        source, options = self._delivered_to(), self._router.options
        if self._aim.cause is Cause.FALLBACK:  # F-1.56, K-18
            return self._reject(errors.replay_from_fallback(), options.replay_error_status, now, source)
        self._replays += 1
        if self._replays > MAX_REPLAYS:  # F-1.38
            return self._reject(errors.TOO_MANY_REPLAYS, options.replay_error_status, now, source)
        try:
            directive = parse_directive(value, lenient_region_list=options.lenient_region_list)
        except DirectiveError as problem:
            return self._reject(errors.unparsable(str(problem)), options.replay_error_status, now, source)
        self._record.warn(*directive.warnings, *self._foreign_instance(directive, source))
        if status == 101:
            self._record.warn(
                "the app negotiated the upgrade itself and replayed: Fly asks apps not to (F-1.86)"
            )
        if not body_kept:  # F-1.32
            return self._reject(errors.BODY_TOO_LARGE, options.replay_error_status, now, source)
        refusal = self._refuse_app(source.app, directive.app)
        if refusal is not None:
            # Measured for an app that does not exist, as for a target that does not answer (F-1.51, F-1.63).
            # For a refusal nothing was: it needs no search.
            pause = self._budget_seconds(directive) if refusal.code == "PA04" else 0.0
            return self._reject(refusal, options.replay_error_status, now, source, wait_seconds=pause)
        self._aim_at(directive, source, now)
        return self._choose(now)

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

    def _aim_at(self, directive: ReplayDirective, source: Machine, now: float) -> None:
        target = Target(
            app=directive.app or source.app,
            instance=directive.instance,
            prefer_instance=directive.prefer_instance,
            regions=directive.regions,
            excluded=source.id if directive.elsewhere else None,  # F-1.6, K-32: for this replay only
        )
        extra = (
            (FLY_REPLAY_SRC, replay_src(source, int(now * 1_000_000), directive.state)),
            (FLY_REPLAY_CACHE_STATUS, b"miss"),  # F-1.47, F-1.48
        )
        self._tried.clear()
        budget = self._budget_seconds(directive)
        self._aim = _Aim(target, Cause.REPLAY, now, budget, extra, directive, source)

    def _budget_seconds(self, directive: ReplayDirective) -> float:
        """How long the proxy looks for the target (F-1.49, F-1.51)."""
        if directive.timeout_seconds is not None:
            return directive.timeout_seconds
        return self._router.options.replay_error_seconds

    def _fall_back(self, fallback: Fallback, reason: str, now: float, wait_seconds: float) -> Decision:
        """The original request again, to the machine that replayed it, with the reason (F-1.52, F-1.54)."""
        aim, source = self._aim, self._source_of_replay()
        failed = FailedReplay(
            instance=aim.target.instance or aim.target.prefer_instance,
            app=aim.target.app,
            region=",".join(aim.target.regions) or None,
            source=source.id,
            reason=reason,
            elapsed_ms=round((now - aim.since + wait_seconds) * 1000),
        )
        if fallback is Fallback.FORCE_SELF:
            target = Target(source.app, instance=source.id)
        else:
            target = Target(source.app, prefer_instance=source.id)
        extra = ((FLY_REPLAY_FAILED, failed.header_value()),)  # and no fly-replay-src: K-17
        self._tried.clear()
        self._aim = _Aim(target, Cause.FALLBACK, now + wait_seconds, ROUTING_SECONDS, extra, source=source)
        return self._choose(now, wait_seconds)

    # Choosing and delivering.

    def _choose(self, now: float, wait_seconds: float = 0.0) -> Decision:
        machine = self._select()
        if machine is None and self._tried:
            return self._start_over(now)
        if machine is None:
            return self._give_up("no_candidate", now, wait_seconds)
        return self._deliver(machine, now, wait_seconds)

    def _start_over(self, now: float) -> Decision:
        """Every machine was tried: all of them again after a pause, if there is time for one (F-5.41)."""
        self._tried.clear()
        machine = self._select()
        if machine is None:
            return self._give_up("no_candidate", now)
        doublings = min(self._aim.attempts - 1, 10)
        pause = min(FIRST_PAUSE_SECONDS * 2**doublings, LONGEST_PAUSE_SECONDS)
        if pause >= self._aim.seconds_left(now):
            return self._give_up("timeout", now)
        return self._deliver(machine, now, pause)

    def _select(self) -> Machine | None:
        router = self._router
        return select(router.fleet, self._aim.target, self._edge, self._tried, router.chance)

    def _deliver(self, machine: Machine, now: float, wait_seconds: float) -> Deliver:
        aim = self._aim
        extra = aim.extra
        preferred = aim.target.prefer_instance
        if aim.cause is Cause.REPLAY and preferred is not None and preferred != machine.id:  # F-1.46
            extra = (*extra, (FLY_PREFERRED_INSTANCE_UNAVAILABLE, preferred.encode("latin-1", "replace")))
        self._machine = machine
        cause = Cause.RETRY if aim.attempts else aim.cause
        self._record.open_hop(machine, cause, extra, now + wait_seconds)
        # No time at all (K-6 set to 0) is time for one try.
        connect_seconds = aim.seconds_left(now + wait_seconds) or ROUTING_SECONDS
        fields = overwrite(self._base_fields, extra) if extra else self._base_fields
        return Deliver(machine, fields, connect_seconds, wait_seconds)

    def _give_up(self, reason: str, now: float, wait_seconds: float = 0.0) -> Decision:
        """No machine took the request: fall back if the replay said so, else PR03 or PR04 (F-1.53)."""
        aim, options = self._aim, self._router.options
        if aim.cause is Cause.REPLAY and reason != "retries_exhausted":  # F-1.51
            wait_seconds = aim.seconds_left(now)
        if aim.directive is not None and aim.directive.fallback is not None:
            return self._fall_back(aim.directive.fallback, reason, now, wait_seconds)
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

    def _source_of_replay(self) -> Machine:
        assert self._aim.source is not None, "no replay is under way"
        return self._aim.source
