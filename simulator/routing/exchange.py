"""Retry, replay and balancing of one client request, up to its final response.

    decision = exchange.begin(now)
    decision = exchange.receive(response, now)      # a response head arrived
    decision = exchange.receive_body(body, now)     # after ReadBody
    decision = exchange.fail(failure, now)          # no response head arrived
    decision = exchange.resume(now)                 # after Wait

The caller carries out each decision and reports the result; all policy is here. Each replay or fallback is a new
`Route`; the `Balancer` chooses the machines for it. The proxy ends replays by count, as Fly does (F-1.38);
diagnosis names the cycle.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulator.routing import errors
from simulator.routing.balancing.balancer import Balancer, NoMachine, UseMachine
from simulator.routing.balancing.load import Key, Load
from simulator.routing.balancing.route import (
    Route,
    route_for_fallback,
    route_for_replay,
    route_for_request,
    route_from_cache,
    target_of,
)
from simulator.routing.balancing.selection import Target
from simulator.routing.cache.caching import Caching
from simulator.routing.cache.replay_cache import CacheLookup, CacheStatus
from simulator.routing.client_header import FORCE_INSTANCE, target_from_headers, wants_bypass
from simulator.routing.decision import Decision, Deliver, ReadBody, Redirect, Reject, Relay, Wait
from simulator.routing.errors import Failure, ProxyError
from simulator.routing.headers import (
    FLY_REPLAY,
    FailureReason,
    find_field,
    overwrite,
    replay_src,
    request_fields,
    response_fields,
)
from simulator.routing.model import App, Fields, Machine, Request, Response
from simulator.routing.options import MAX_REPLAYS, ROUTING_SECONDS
from simulator.routing.replay import reading
from simulator.routing.replay.body import MAX_BYTES, ReplayBody
from simulator.routing.replay.directive import DirectiveError
from simulator.routing.service import HttpOptions
from simulator.routing.trace import Cause, Outcome, Trace, TraceRecorder

if TYPE_CHECKING:
    from simulator.routing.router import Router

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class Exchange:
    """The progress of one request. All times are seconds since the Unix epoch, on the simulated clock."""

    _route: Route
    """Set by `begin`."""

    def __init__(
        self, request: Request, edge: str, app: App, request_id: str, now: float, router: Router
    ) -> None:
        self.request = request
        self.request_id = request_id
        self._router = router
        self._options = router.options
        self._edge = edge
        self._app = app
        self._service_port = app.find_port(request.public_port)
        self._http = self._service_port.http if self._service_port is not None else HttpOptions()
        scope = edge if router.options.cache_scope == "edge" else ""  # K-24
        self._cache_lookup = CacheLookup(scope, request.hostname, request.path, request.fields)
        self._base_fields = request_fields(request, edge, request_id, now, router.options)
        self._balancer = Balancer(router, edge, request.public_port)
        self._recorder = TraceRecorder(request, edge, app.name, request_id, now)
        self._machine: Machine | None = None
        self._port = 0
        self._load_slot: tuple[Load, Key] | None = None
        self._replays = 0
        self._first_src: bytes | None = None
        self._pending: Response | None = None
        self._cookies: Fields = ()

    # What the caller reports.

    def begin(self, now: float) -> Decision:
        port = self._service_port
        if port is None:  # F-9.18
            error = errors.no_route(self.request.public_port)
            return self._reject(error, self._options.no_candidate_status, now, None)
        if port.force_https and self.request.scheme == "http":
            self._recorder.redirect(301, now)
            return Redirect(f"https://{self.request.host}{self.request.target}")
        self._route = self._first_route(now)
        return self._continue(now)

    def receive(self, response: Response, now: float, *, body_kept: bool = True) -> Decision:
        """A response head arrived from the machine. `body_kept`: the request body can still be resent."""
        value = find_field(response.fields, FLY_REPLAY)
        in_body = reading.has_body_form(response, self._options)
        self._recorder.close_hop(now, status=response.status, replay=value, fields=response.fields)
        if value is None and not in_body:
            if find_field(response.fields, b"fly-replay-cache") is not None:  # F-2.28, K-28
                self._recorder.warn("fly-replay-cache has no effect on a response without a replay (K-28)")
            return self._relay(response, now)
        is_fallback = self._route.cause is Cause.FALLBACK
        is_ignored = is_fallback and self._options.replay_from_fallback == "ignore"  # K-18
        if is_ignored or not reading.is_honored(response, self.request, self._options):
            return self._relay(response, now)
        self._release_load()
        if in_body:
            self._pending = response
            return ReadBody(MAX_BYTES)
        try:
            replay = reading.read_header_form(response, self._options)
        except DirectiveError as problem:
            return self._count_replay(now) or self._reject_directive(problem, now)
        return self._replay(replay, response, now, body_kept=body_kept)

    def receive_body(self, body: bytes | None, now: float, *, body_kept: bool = True) -> Decision:
        """The body of the replaying response arrived; None if it is incomplete or too large.

        `body_kept` is about the request body, as for `receive`.
        """
        response, self._pending = self._pending, None
        assert response is not None, "receive_body follows a ReadBody decision"
        if body is not None:
            self._recorder.set_replay_body(body)
        try:
            replay = reading.read_body_form(response, body, self._options)
        except DirectiveError as problem:
            return self._count_replay(now) or self._reject_directive(problem, now)
        return self._replay(replay, response, now, body_kept=body_kept)

    def fail(self, failure: Failure, now: float, *, body_kept: bool = True) -> Decision:
        """No response head arrived. `body_kept` as for `receive`."""
        machine = self._current_machine()
        is_gone = self._router.fleet.find(machine.id) is None and not failure.reached_the_machine
        error = errors.MACHINE_GONE if is_gone else errors.delivery_error(failure, self._port)
        self._recorder.close_hop(now, failure=str(error))
        self._release_load()
        if failure.reached_the_machine and not self._may_resend():
            return self._reject(error, 502, now, machine)
        if not body_kept:
            return self._reject(errors.BODY_TOO_LARGE, self._options.replay_error_status, now, machine)
        return self._carry_out(self._balancer.retry(self._route, machine, error, now), now)

    def resume(self, now: float) -> Decision:
        """The time of a `Wait` has passed."""
        return self._continue(now)

    def add_note(self, note: str) -> None:
        """Add a note to the current hop of the trace: a cause outside Fly's proxy, such as an injected fault."""
        self._recorder.add_note(note)

    def finish(self, now: float, outcome: Outcome | None = None, close_code: int | None = None) -> Trace:
        """End the exchange; `outcome` is given if it differs from what the response head promised."""
        self._release_load()
        self._recorder.finish(now, outcome, close_code)
        return self.trace

    def abort(self, error: ProxyError, now: float) -> Trace:
        """End the exchange because of a bug in flysim, which `error` describes."""
        self._recorder.abort(error, now)
        return self.finish(now)

    @property
    def idle_timeout_seconds(self) -> float | None:
        """How long the client's connection may have no traffic (F-9.7, K-35); None: no limit."""
        return self._http.idle_timeout_seconds or self._options.idle_timeout_seconds or None

    @property
    def trace(self) -> Trace:
        """The record so far."""
        return self._recorder.trace()

    # Delivering along the current route.

    def _continue(self, now: float, wait_seconds: float = 0.0) -> Decision:
        return self._carry_out(self._balancer.choose(self._route, now, wait_seconds), now)

    def _carry_out(self, result: UseMachine | Wait | NoMachine, now: float) -> Decision:
        if isinstance(result, UseMachine):
            return self._deliver(result.machine, now, result.wait_seconds)
        return result if isinstance(result, Wait) else self._handle_no_machine(result, now)

    def _deliver(self, machine: Machine, now: float, wait_seconds: float) -> Deliver:
        route, fleet, public_port = self._route, self._router.fleet, self.request.public_port
        service = fleet.find_service(machine, public_port)
        assert service is not None, "selection only finds machines that offer the port"
        note, route.start = route.describe_wait(now), None
        self._machine, self._port = machine, fleet.port_of(machine, public_port)
        load = self._router.load
        self._load_slot = (load, load.take(machine.id, service))
        extra = route.fields_for(machine)
        fields, target = self._base_fields, self.request.target
        if route.replay is not None and (transform := route.replay.transform) is not None:
            fields = transform.apply(fields, set_first=self._options.transform_order == "set-delete")
            target = transform.path or target
        if self._options.new_request_id_per_hop:  # K-38
            new_id = self._router.new_request_id(self._edge, now).encode()
            fields = overwrite(fields, ((b"fly-request-id", new_id),))
        # If forged fields are stripped, there are none to overwrite.
        fields = (*fields, *extra) if self._options.strip_forged_headers else overwrite(fields, extra)
        cause = Cause.RETRY if route.attempts else route.cause
        self._recorder.open_hop(machine, cause, extra, now + wait_seconds, note)
        # A budget of zero (K-6 set to 0) still allows one attempt.
        connect_seconds = route.seconds_left(now + wait_seconds) or ROUTING_SECONDS
        h2 = self._uses_h2(machine)
        return Deliver(machine, self._port, target, fields, connect_seconds, wait_seconds, h2)

    def _uses_h2(self, machine: Machine) -> bool:
        """Whether the machine's app asks for HTTP/2; an upgrade uses HTTP/1.1 on every hop (F-1.97)."""
        app = self._router.fleet.apps[machine.app]
        port = self._service_port if app is self._app else app.find_port(self.request.public_port)
        return (
            port is not None and port.http.h2_backend and find_field(self.request.fields, b"upgrade") is None
        )

    def _release_load(self) -> None:
        """The current delivery no longer counts as load of its machine."""
        if self._load_slot is not None:
            load, key = self._load_slot
            load.release(key)
            self._load_slot = None

    def _may_resend(self) -> bool:
        return self._options.retry_reached and self.request.method.upper() in IDEMPOTENT_METHODS  # K-34

    def _current_machine(self) -> Machine:
        assert self._machine is not None, "no delivery was made yet"
        return self._machine

    # The first route: from the client's headers or the replay cache.

    @property
    def _caching(self) -> Caching:
        return Caching(self._router.cache, self._cache_lookup, self._http.cache_rules, self._options)

    def _first_route(self, now: float) -> Route:
        fields, options = self.request.fields, self._options
        target = target_from_headers(fields, self._app.name)
        if target.instance:  # a forced machine takes precedence over the cache (F-3.9)
            return route_for_request(target, now)
        cached = self._caching.find(now)
        if cached is None or options.cache_refusal * 1000 > self._router.chance(1000):  # F-2.2, K-27
            return route_for_request(target, now)
        if cached.allow_bypass and wants_bypass(fields):  # F-2.29
            return route_for_request(target, now, CacheStatus.BYPASS)
        return route_from_cache(cached, now, options.replay_error_seconds)

    def _ask_origin(self, now: float) -> Decision:
        """The target of a cached replay is gone: remove the entry and route the request as new (F-2.8, K-25)."""
        self._caching.remove()
        self._route = route_for_request(target_from_headers(self.request.fields, self._app.name), now)
        return self._continue(now)

    # Replay.

    def _replay(self, replay: ReplayBody, response: Response, now: float, *, body_kept: bool) -> Decision:
        """Check the replay, update the caches, and deliver along its route."""
        source, options, fleet = self._current_machine(), self._options, self._router.fleet
        if rejection := self._count_replay(now):
            return rejection
        self._recorder.warn(*reading.find_warnings(replay, response, self.request, source, fleet, options))
        try:
            reading.check(replay.directive, source, fleet, options)
            if not body_kept:  # F-1.32
                return self._reject(errors.BODY_TOO_LARGE, options.replay_error_status, now, source)
            error = reading.find_permission_error(fleet.apps, source.app, replay.directive.app, options)
            if error is None:
                self._update_caches(replay, source, now)
        except DirectiveError as problem:
            return self._reject_directive(problem, now)
        if options.relay_replay_cookies:  # K-20
            self._cookies += tuple(field for field in response.fields if field[0].lower() == b"set-cookie")
        previous, self._route = self._route, self._replay_route(replay, source, now)
        if options.elsewhere_lasts:  # K-32
            excluded = self._route.target.excluded | previous.target.excluded
            self._route.target = replace(self._route.target, excluded=excluded)
        return self._refuse_target(error, now, source) if error else self._continue(now)

    def _count_replay(self, now: float) -> Reject | None:
        """Count one more replay; a rejection if a fallback was replayed or the limit is exceeded."""
        source, status = self._current_machine(), self._options.replay_error_status
        if self._route.cause is Cause.FALLBACK:  # F-1.56, K-18
            return self._reject(errors.REPLAY_FROM_FALLBACK, status, now, source)
        self._replays += 1
        if self._replays > MAX_REPLAYS:  # F-1.38
            return self._reject(errors.TOO_MANY_REPLAYS, status, now, source)
        return None

    def _update_caches(self, replay: ReplayBody, source: Machine, now: float) -> None:
        """Invalidate and store entries as the replay requests. Raises DirectiveError if that is refused."""
        caching = self._caching
        caching.invalidate(replay, source, now)
        if self._route.cause is Cause.ROUTED and self._replays == 1:  # F-2.5: one lookup, at the origin
            self._recorder.warn(*caching.store(replay, source, now))

    def _replay_route(self, replay: ReplayBody, source: Machine, now: float) -> Route:
        directive, options = replay.directive, self._options
        target = target_of(directive, source.app, source.id)
        if options.client_headers_win and (forced := find_field(self.request.fields, FORCE_INSTANCE)):  # K-14
            target = Target(target.app, instance=forced)
        src = replay_src(source, int(now * 1_000_000), directive.state)
        self._first_src = self._first_src or src
        budget = options.replay_error_seconds  # F-1.51
        if directive.timeout_seconds is not None:  # F-1.49
            budget = min(directive.timeout_seconds, options.max_replay_timeout_seconds)
            if budget < directive.timeout_seconds:
                self._recorder.warn(
                    f"the timeout of the replay is longer than {budget:g} s: it is cut (K-56)"
                )
        return route_for_replay(
            replay,
            target,
            source,
            self._first_src if options.replay_src_of == "first" else src,  # K-16
            now,
            budget,
        )

    def _reject_directive(self, problem: DirectiveError, now: float) -> Reject:
        error = errors.unparsable(str(problem))
        return self._reject(error, self._options.replay_error_status, now, self._current_machine())

    def _refuse_target(self, error: ProxyError, now: float, source: Machine) -> Decision:
        """The replay may not go to its target app: fall back if the options say so (K-19), else reject.

        An unknown app takes as long as a target that does not respond; this was measured (F-1.63).
        """
        pause = self._route.budget_seconds if error.code == "PA04" else 0.0
        if self._options.fallback_on_refusal and self._route.fallback:  # K-19
            return self._fall_back(source, "no_candidate", now, pause)
        return self._reject(error, self._options.replay_error_status, now, source, wait_seconds=pause)

    # No machine takes the request.

    def _handle_no_machine(self, result: NoMachine, now: float) -> Decision:
        """Ask the origin of a cached replay (K-25), fall back (F-1.53), else reject."""
        route, options = self._route, self._options
        if route.cause is Cause.CACHED and options.lost_cached_target == "ask-origin":
            return self._ask_origin(now)
        if route.source is not None and route.fallback is not None:
            return self._fall_back(route.source, result.reason, now, result.wait_seconds)
        if result.is_overload:
            error = errors.no_candidate(options.attempts, route.last_error)
            return self._reject(error, options.overload_status, now, route.source)
        if route.last_error is errors.NOT_REACHABLE:
            return self._reject(route.last_error, 502, now, route.source)
        forced = find_field(self.request.fields, FORCE_INSTANCE) is not None and route.cause is Cause.ROUTED
        status = options.forced_instance_status if forced else options.no_candidate_status  # K-5
        error = self._no_candidate_error(route)
        return self._reject(error, status, now, route.source, wait_seconds=result.wait_seconds)

    def _no_candidate_error(self, route: Route) -> ProxyError:
        """PR03 or PR04; PR04 has its own text if the target app does not serve the port at all (F-1.62)."""
        fleet, source, port = self._router.fleet, route.source, self.request.public_port
        app = fleet.apps.get(route.target.app)
        if source is not None and app is not None and app.name != source.app:
            machines = fleet.of_app(app.name)
            if not any(fleet.find_service(machine, port) for machine in machines):
                return errors.not_served(source.app, app.name, port)
        return errors.no_candidate(self._options.attempts, route.last_error)

    def _fall_back(self, source: Machine, reason: FailureReason, now: float, wait_seconds: float) -> Decision:
        self._route = route_for_fallback(self._route, source, reason, now + wait_seconds, self._options)
        return self._continue(now, wait_seconds)

    # Responses to the client.

    def _relay(self, response: Response, now: float) -> Relay:
        self._recorder.relay(response.status, now)
        fields = response_fields(
            response.fields,
            self.request_id,
            self.request.http_version,
            self._http,
            replayed=self._replays > 0,
            cookies=self._cookies,
        )
        return Relay(fields)

    def _reject(
        self, error: ProxyError, status: int, now: float, source: Machine | None, *, wait_seconds: float = 0.0
    ) -> Reject:
        self._recorder.reject(error, status, now + wait_seconds)
        return Reject(
            error,
            status,
            log_app=source.app if source else self._app.name,  # F-6.2
            log_machine_id=source.id if source else None,
            log_region=source.region if source else self._edge,
            wait_seconds=wait_seconds,
        )
