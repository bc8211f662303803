"""One client request to its final answer.

    decision = exchange.begin(now)
    decision = exchange.receive(response, now)      # a response head came
    decision = exchange.receive_body(body, now)     # after ReadBody
    decision = exchange.fail(failure, now)          # no response head came
    decision = exchange.resume(now)                 # after Wait

The caller carries decisions out and reports what came of them; all policy is here. The proxy ends replays by
count, as Fly does (F-1.38): naming the cycle is diagnosis.
"""

from __future__ import annotations

from dataclasses import replace

from simulator.routing import errors
from simulator.routing.balancing.balancer import Balancing
from simulator.routing.balancing.route import (
    Route,
    route_for_replay,
    route_for_request,
    route_from_cache,
    target_of,
)
from simulator.routing.balancing.selection import Target
from simulator.routing.cache.caching import Caching
from simulator.routing.cache.replay_cache import CacheStatus
from simulator.routing.client_header import FORCE_INSTANCE, wants_bypass
from simulator.routing.client_header import target_of as target_of_client
from simulator.routing.decision import Decision, ReadBody, Redirect, Reject, Relay
from simulator.routing.errors import Failure, ProxyError
from simulator.routing.headers import FLY_REPLAY, find_field, replay_src, response_fields
from simulator.routing.model import Machine, Response
from simulator.routing.options import MAX_REPLAYS
from simulator.routing.replay import reading
from simulator.routing.replay.body import MAX_BYTES, ReplayBody
from simulator.routing.replay.directive import DirectiveError
from simulator.routing.replay.permission import refuse
from simulator.routing.trace import Cause, Outcome, Trace

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class Exchange(Balancing):
    """The progress of one request. All times are seconds since the Unix epoch, on the simulated clock."""

    _replays = 0
    _first_src: bytes | None = None
    _pending: Response | None = None

    # What the caller reports.

    def begin(self, now: float) -> Decision:
        port = self._door
        if port is None:  # F-9.18
            error = errors.no_route(self.request.public_port)
            return self._reject(error, self._options.no_candidate_status, now, None)
        if port.force_https and self.request.scheme == "http":
            self._record.redirect(301, now)
            return Redirect(f"https://{self.request.host}{self.request.target}")
        self._route = self._first_route(now)
        return self._choose(now)

    def receive(self, response: Response, now: float, *, body_kept: bool = True) -> Decision:
        """A response head came from the machine. `body_kept`: the request's body can still be sent again."""
        value = find_field(response.fields, FLY_REPLAY)
        in_body = reading.has_body_form(response, self._options)
        self._record.close_hop(now, status=response.status, replay=value, fields=response.fields)
        ignored = (
            self._route.cause is Cause.FALLBACK and self._options.replay_from_fallback == "ignore"
        )  # K-18
        if not (value is not None or in_body):
            if find_field(response.fields, b"fly-replay-cache") is not None:  # F-2.28, K-28
                self._record.warn("fly-replay-cache on a response without a replay does nothing (K-28)")
            return self._relay(response, now)
        if ignored or not reading.is_honoured(response, self.request, self._options):
            return self._relay(response, now)
        self._release()
        if in_body:
            self._pending = response
            return ReadBody(MAX_BYTES)
        try:
            replay = reading.read_header_form(response, self._options)
        except DirectiveError as problem:
            return self._count_replay(now) or self._refuse_directive(problem, now)
        return self._replay(replay, response, now, body_kept=body_kept)

    def receive_body(self, body: bytes | None, now: float, *, body_kept: bool = True) -> Decision:
        """The body of the replaying response; None if it did not come whole. `body_kept` is about the request's."""
        response, self._pending = self._pending, None
        assert response is not None, "no body is waited for"
        if body is not None:
            self._record.tell_replay(body)
        try:
            replay = reading.read_body_form(response, body, self._options)
        except DirectiveError as problem:
            return self._count_replay(now) or self._refuse_directive(problem, now)
        return self._replay(replay, response, now, body_kept=body_kept)

    def fail(self, failure: Failure, now: float, *, body_kept: bool = True) -> Decision:
        """No response head came. `body_kept` as for `receive`."""
        machine, route = self._delivered_to(), self._route
        is_gone = self._router.fleet.find(machine.id) is None and not failure.reached_the_machine
        error = errors.MACHINE_GONE if is_gone else errors.delivery_error(failure, self._port)
        self._record.close_hop(now, failure=str(error))
        self._release()
        if failure.reached_the_machine and not self._may_send_again():
            return self._reject(error, 502, now, machine)
        if not body_kept:
            return self._reject(errors.BODY_TOO_LARGE, self._options.replay_error_status, now, machine)
        route.attempts += 1
        route.last_error = error
        route.tried.add(machine.id)
        if not route.seconds_left(now):
            return self._give_up("timeout", now)
        if route.attempts >= self._options.attempts:
            return self._give_up("retries_exhausted", now)
        return self._choose(now)

    def resume(self, now: float) -> Decision:
        """What was waited for may have come about."""
        return self._choose(now)

    def remark(self, words: str) -> None:
        """Why the delivery at hand goes as it goes, where that has a cause outside Fly's proxy; for the trace alone."""
        self._record.remark(words)

    def finish(self, now: float, outcome: Outcome | None = None, close_code: int | None = None) -> Trace:
        """Nothing more comes; `outcome` where it differs from what the response head promised."""
        self._release()
        self._record.finish(now, outcome, close_code)
        return self.trace

    @property
    def idle_timeout_seconds(self) -> float | None:
        """How long the client's connection may be without traffic (F-9.7, K-35)."""
        return self._http.idle_timeout_seconds or self._options.idle_timeout_seconds or None

    @property
    def trace(self) -> Trace:
        """The record so far."""
        return self._record.trace()

    # The first aim.

    @property
    def _caching(self) -> Caching:
        return Caching(self._router.cache, self._asked, self._http.cache_rules, self._options)

    def _first_route(self, now: float) -> Route:
        fields, options = self.request.fields, self._options
        target = target_of_client(fields, self._app.name)
        cached = (
            None if target.instance else self._caching.find(now)
        )  # a forced machine goes before the cache
        if cached is not None and options.cache_refusal * 1000 > self._router.chance(1000):  # F-2.2, K-27
            cached = None
        if cached is None:
            return route_for_request(target, now)
        if cached.allow_bypass and wants_bypass(fields):  # F-2.29
            return route_for_request(target, now, CacheStatus.BYPASS)
        return route_from_cache(cached, now, options.replay_error_seconds)

    def _lose_cached(self, now: float) -> Decision:
        """The remembered machine is gone: forget it and ask the origin (F-2.8, K-25)."""
        self._caching.forget()
        self._route = route_for_request(target_of_client(self.request.fields, self._app.name), now)
        return self._choose(now)

    # Replay.

    def _may_send_again(self) -> bool:
        return self._options.retry_reached and self.request.method.upper() in IDEMPOTENT_METHODS  # K-34

    def _replay(self, replay: ReplayBody, response: Response, now: float, *, body_kept: bool) -> Decision:
        source, options = self._delivered_to(), self._options
        if refusal := self._count_replay(now):
            return refusal
        self._record.warn(*self._warnings(replay, response, source))
        try:
            reading.check(replay.directive, source, self._router.fleet, options)
            if not body_kept:  # F-1.32
                return self._reject(errors.BODY_TOO_LARGE, options.replay_error_status, now, source)
            error = refuse(self._router.fleet.apps, source.app, replay.directive.app, options)
            if error is None:
                self._keep_caches(replay, source, now)
        except DirectiveError as problem:
            return self._refuse_directive(problem, now)
        if options.relay_replay_cookies:  # K-20
            self._cookies += tuple(field for field in response.fields if field[0].lower() == b"set-cookie")
        previous, self._route = self._route, self._replay_route(replay, source, now)
        if options.elsewhere_lasts:  # K-32
            self._route.target = replace(
                self._route.target, excluded=self._route.target.excluded | previous.target.excluded
            )
        return self._refuse_target(error, now, source) if error else self._choose(now)

    def _count_replay(self, now: float) -> Reject | None:
        source, status = self._delivered_to(), self._options.replay_error_status
        if self._route.cause is Cause.FALLBACK:  # F-1.56, K-18
            return self._reject(errors.REPLAY_FROM_FALLBACK, status, now, source)
        self._replays += 1
        if self._replays > MAX_REPLAYS:  # F-1.38
            return self._reject(errors.TOO_MANY_REPLAYS, status, now, source)
        return None

    def _refuse_directive(self, problem: DirectiveError, now: float) -> Reject:
        error = errors.unparsable(str(problem))
        return self._reject(error, self._options.replay_error_status, now, self._delivered_to())

    def _refuse_target(self, error: ProxyError, now: float, source: Machine) -> Decision:
        """Measured for an app that does not exist to take as long as a target that does not answer (F-1.63)."""
        pause = self._route.budget_seconds if error.code == "PA04" else 0.0
        if self._options.fallback_on_refusal and self._route.fallback:  # K-19
            return self._fall_back("no_candidate", now, pause)
        return self._reject(error, self._options.replay_error_status, now, source, wait_seconds=pause)

    def _warnings(self, replay: ReplayBody, response: Response, source: Machine) -> list[str]:
        """What is accepted, but is probably not what was meant."""
        warnings = [*replay.directive.warnings, *replay.warnings]
        if foreign := reading.foreign_instance(replay.directive, source, self._router.fleet):
            warnings.append(foreign)
        if response.status == 101:
            warnings.append(
                "the app negotiated the upgrade itself and replayed: Fly asks apps not to (F-1.86)"
            )
        named = replay.directive.instance
        forced = find_field(self.request.fields, FORCE_INSTANCE) if named else None
        if forced and forced != named:  # K-14
            winner = "the client's" if self._options.client_headers_win else "the replay's"
            warnings.append(
                f"the client forces machine {forced}, the replay names {named}: {winner} counts (K-14)"
            )
        return warnings

    def _keep_caches(self, replay: ReplayBody, source: Machine, now: float) -> None:
        """Forget and remember as the replay says. Raises DirectiveError where that is refused."""
        caching, instruction = self._caching, replay.cache
        if instruction is not None and instruction.invalidate:
            cached = caching.find(now)
            target = target_of(replay.directive, source.app, source.id)
            back = cached is not None and (target.instance or cached.source_id) == cached.source_id
            if self._options.invalidate_with_any_replay or (
                back and cached and target.app == cached.source_app
            ):
                caching.forget()  # F-2.27, K-28
        if self._route.cause is Cause.ROUTED and self._replays == 1:  # F-2.5: one look-up, at the origin
            self._record.warn(*caching.remember(replay, source, now))

    def _replay_route(self, replay: ReplayBody, source: Machine, now: float) -> Route:
        directive, options = replay.directive, self._options
        target = target_of(directive, source.app, source.id)
        if options.client_headers_win and (forced := find_field(self.request.fields, FORCE_INSTANCE)):  # K-14
            target = Target(target.app, instance=forced)
        src = replay_src(source, int(now * 1_000_000), directive.state)
        self._first_src = self._first_src or src
        budget = directive.timeout_seconds
        return route_for_replay(
            replay,
            target,
            source,
            self._first_src if options.replay_src_of == "first" else src,  # K-16
            now,
            options.replay_error_seconds if budget is None else budget,  # F-1.49, F-1.51
        )

    def _relay(self, response: Response, now: float) -> Relay:
        self._record.relay(response.status, now)
        fields = response_fields(
            response.fields,
            self.request_id,
            self.request.http_version,
            self._http,
            replayed=self._replays > 0,
            cookies=self._cookies,
        )
        return Relay(fields)
