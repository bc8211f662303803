"""Finding a machine for what an exchange aims at: choose, start, queue, retry, fall back, give up (facts 1.7, 5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from simulator.routing import errors
from simulator.routing.balancing.load import Key, Load
from simulator.routing.balancing.route import Route, Start, route_for_fallback, route_for_request
from simulator.routing.balancing.selection import Chance, Choice, Selector, Target
from simulator.routing.cache.replay_cache import Asked, ReplayCache
from simulator.routing.client_header import FORCE_INSTANCE
from simulator.routing.decision import Decision, Deliver, Reject, Wait
from simulator.routing.errors import ProxyError
from simulator.routing.headers import find_field, overwrite, request_fields
from simulator.routing.model import App, Fields, Fleet, Machine, MachineState, Request
from simulator.routing.options import ROUTING_SECONDS, START_SECONDS, RoutingOptions
from simulator.routing.recorder import Recorder
from simulator.routing.service import HttpOptions
from simulator.routing.trace import Cause

POLL_SECONDS = 0.01
"""How often to look again for something real: a machine that starts, a place that becomes free."""


class RoutingState(Protocol):
    """What an exchange asks about while it lasts: the fleet, load and caches as they are at that moment."""

    @property
    def fleet(self) -> Fleet: ...

    @property
    def load(self) -> Load: ...

    @property
    def cache(self) -> ReplayCache: ...

    @property
    def options(self) -> RoutingOptions: ...

    @property
    def chance(self) -> Chance: ...

    @property
    def aliases(self) -> Mapping[str, frozenset[str]]: ...

    def request_start(self, machine_id: str) -> None:
        """A request waits for this machine to be started."""

    def new_request_id(self, edge: str, now: float) -> str: ...


class Balancing(ABC):
    """The half of an exchange that deals with machines; what their answers mean is the other half's."""

    def __init__(
        self, request: Request, edge: str, app: App, request_id: str, now: float, router: RoutingState
    ) -> None:
        self.request = request
        self.request_id = request_id
        self._router = router
        self._options = router.options
        self._edge = edge
        self._app = app
        self._door = app.find_port(request.public_port)
        self._http = self._door.http if self._door is not None else HttpOptions()
        scope = edge if router.options.cache_scope == "edge" else ""  # K-24
        self._asked = Asked(scope, request.hostname, request.path, request.fields)
        self._base_fields = request_fields(request, edge, request_id, now, router.options)
        self._route = route_for_request(Target(app.name), now)
        self._machine: Machine | None = None
        self._port = 0
        self._place: tuple[Load, Key] | None = None
        self._cookies: Fields = ()
        self._record = Recorder(request, edge, app.name, request_id, now)

    # Choosing and delivering.

    def _choose(self, now: float, wait_seconds: float = 0.0) -> Decision:
        route, choice = self._route, self._select(now)
        if choice.machine is not None:
            return self._deliver(choice.machine, now, wait_seconds)
        if route.start is not None:
            return self._follow_start(route.start, now)
        if choice.start is not None and not (route.lost and not route.seconds_left(now)):
            return self._follow_start(Start(choice.start.id, now), now)
        if choice.full and not route.tried:
            return self._queue(now)
        if choice.stuck is not None:
            route.last_error = errors.not_startable(choice.stuck.state.value)
        if route.tried:
            return self._start_over(now)
        if route.lost:
            reason = "timeout" if route.last_error is errors.NOT_REACHABLE else "retries_exhausted"
            return self._give_up(reason, now)
        return self._find_none(now, wait_seconds)

    def _select(self, now: float) -> Choice:
        route, router = self._route, self._router
        selector = Selector(
            router.fleet,
            router.load,
            self._edge,
            self.request.public_port,
            now,
            router.chance,
            router.aliases,
        )
        target = route.target
        if route.start is not None:
            machine = router.fleet.find(route.start.machine_id)
            if machine is not None and machine.is_candidate:  # what it was started for it gets (F-5.25)
                target = replace(target, prefer_instance=machine.id)
        return selector.select(target, route.tried | route.lost if route.lost else route.tried)

    def _start_over(self, now: float) -> Decision:
        """Every machine was tried: all of them again after a pause, if there is time for one (F-5.41)."""
        route = self._route
        route.tried.clear()
        pause, left = route.pause_seconds(), route.seconds_left(now)
        if pause >= left:
            return self._give_up("timeout", now, left)
        return self._choose(now, pause)

    def _find_none(self, now: float, wait_seconds: float) -> Decision:
        """No machine will do: a replay looks again until its time is up (F-1.51, K-31)."""
        route = self._route
        left = route.seconds_left(now)
        if route.cause is not Cause.REPLAY or self._options.unready_instance == "reject" or not left:
            return self._give_up("no_candidate", now, wait_seconds)
        route.rounds += 1
        return Wait(min(route.pause_seconds(), left), really=False)

    def _deliver(self, machine: Machine, now: float, wait_seconds: float) -> Deliver:
        route, fleet, public_port = self._route, self._router.fleet, self.request.public_port
        service = fleet.find_service(machine, public_port)
        assert service is not None, "selection only finds machines that offer the port"
        note = route.waited_for(now)
        self._machine, self._port, route.start = machine, fleet.port_of(machine, public_port), None
        load = self._router.load
        self._place = (load, load.take(machine.id, service))
        extra = route.fields_for(machine)
        fields, target = self._base_fields, self.request.target
        if route.replay is not None and (transform := route.replay.transform) is not None:
            fields = transform.apply(fields, set_first=self._options.transform_order == "set-delete")
            target = transform.path or target
        if self._options.new_request_id_per_hop:  # K-38
            fields = overwrite(
                fields, ((b"fly-request-id", self._router.new_request_id(self._edge, now).encode()),)
            )
        # Where forged ones are stripped, none can be there to overwrite.
        fields = (*fields, *extra) if self._options.strip_forged_headers else overwrite(fields, extra)
        cause = Cause.RETRY if route.attempts else route.cause
        self._record.open_hop(machine, cause, extra, now + wait_seconds, note)
        # No time at all (K-6 set to 0) is time for one try.
        connect_seconds = route.seconds_left(now + wait_seconds) or ROUTING_SECONDS
        return Deliver(machine, self._port, target, fields, connect_seconds, wait_seconds, self._h2(machine))

    def _h2(self, machine: Machine) -> bool:
        """An upgrade travels as HTTP/1.1 on every hop (F-1.97)."""
        app = self._router.fleet.apps[machine.app]
        port = self._door if app is self._app else app.find_port(self.request.public_port)
        return (
            port is not None and port.http.h2_backend and find_field(self.request.fields, b"upgrade") is None
        )

    def _release(self) -> None:
        """The machine has nothing more to do for this exchange."""
        if self._place is not None:
            load, key = self._place
            load.release(key)
            self._place = None

    # Starting and queueing.

    def _follow_start(self, start: Start, now: float) -> Decision:
        """Have it started, wait for it, and see what has become of it (F-1.59, F-5.25)."""
        self._route.start = start
        machine = self._router.fleet.find(start.machine_id)
        if machine is None or machine.cordoned:
            return self._miss_start(errors.did_not_start("cordoned" if machine else "destroyed"), now)
        is_coming = machine.is_coming or (machine.state is MachineState.STARTED and not machine.healthy)
        if not is_coming and (start.was_coming or not machine.is_startable):
            return self._miss_start(errors.did_not_start(machine.state.value), now)
        if now - start.since >= self._start_seconds():
            return self._miss_start(errors.NOT_REACHABLE, now)
        start.was_coming = is_coming
        if machine.is_startable and not start.asked and machine.state is not MachineState.SUSPENDING:
            start.asked = True
            self._router.request_start(machine.id)
        return Wait(POLL_SECONDS, really=True)

    def _miss_start(self, error: ProxyError, now: float) -> Decision:
        """It will not come: another machine, if there is one (F-5.41)."""
        route = self._route
        assert route.start is not None, "only a machine that is waited for can be missed"
        route.lost.add(route.start.machine_id)
        route.start, route.last_error = None, error
        return self._choose(now)

    def _start_seconds(self) -> float:
        """The proxy's own patience, or that of the replay if it names one (F-1.49, F-5.30)."""
        return min(START_SECONDS, self._route.named_seconds)

    def _queue(self, now: float) -> Decision:
        """All are full: wait for a place (F-5.6, K-31, K-36)."""
        route = self._route
        if route.queued_since is None:
            route.queued_since = now
        if now - route.queued_since < min(self._options.queue_seconds, route.named_seconds):
            return Wait(POLL_SECONDS, really=True)
        if instead := self._go_elsewhere("timeout", now, 0.0):
            return instead
        error = errors.no_candidate(self._options.attempts, route.last_error)
        return self._reject(error, self._options.overload_status, now, route.source)

    # Giving up.

    def _give_up(self, reason: str, now: float, wait_seconds: float = 0.0) -> Decision:
        """No machine took the request: fall back if the replay said so, else PR03 or PR04 (F-1.53)."""
        route, options = self._route, self._options
        if instead := self._go_elsewhere(reason, now, wait_seconds):
            return instead
        if route.last_error is errors.NOT_REACHABLE:
            return self._reject(route.last_error, 502, now, route.source)
        error = self._nobody(route)
        forced = find_field(self.request.fields, FORCE_INSTANCE) is not None and route.cause is Cause.ROUTED
        status = options.forced_instance_status if forced else options.no_candidate_status  # K-5
        return self._reject(error, status, now, route.source, wait_seconds=wait_seconds)

    def _go_elsewhere(self, reason: str, now: float, wait_seconds: float) -> Decision | None:
        """What there is to do when no machine takes a remembered replay (K-25), or one with a fallback (F-1.53)."""
        route = self._route
        if route.cause is Cause.CACHED and self._options.lost_cached_target == "ask-origin":
            return self._lose_cached(now)
        if route.source is not None and route.fallback is not None:
            return self._fall_back(reason, now, wait_seconds)
        return None

    def _nobody(self, route: Route) -> ProxyError:
        """PR03 or PR04; where the target app does not serve the port at all, in the words for that (F-1.62)."""
        app, source = self._router.fleet.apps.get(route.target.app), route.source
        if source is not None and app is not None and app.name != source.app:
            machines = self._router.fleet.of_app(app.name)
            port = self.request.public_port
            if not any(self._router.fleet.find_service(machine, port) for machine in machines):
                return errors.not_served(source.app, app.name, port)
        return errors.no_candidate(self._options.attempts, route.last_error)

    def _fall_back(self, reason: str, now: float, wait_seconds: float) -> Decision:
        route = self._route
        assert route.source is not None, "only a replay has a fallback"
        self._route = route_for_fallback(route, route.source, reason, now + wait_seconds, self._options)
        return self._choose(now, wait_seconds)

    @abstractmethod
    def _lose_cached(self, now: float) -> Decision:
        """What a remembered replay came to nothing for is asked of the origin."""

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
