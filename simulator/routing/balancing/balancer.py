"""Load balancing along one route: choose a machine, start one, queue, retry, or report that none takes the request.

A `Balancer` only decides; the `Exchange` carries out what it returns. All progress is kept in the `Route`.
Sources: facts 1.7 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulator.routing import errors
from simulator.routing.balancing.route import MachineStart, Route
from simulator.routing.balancing.selection import Choice, Selector
from simulator.routing.decision import Wait
from simulator.routing.errors import ProxyError
from simulator.routing.headers import FailureReason
from simulator.routing.model import Machine, MachineState
from simulator.routing.options import START_SECONDS
from simulator.routing.trace import Cause

if TYPE_CHECKING:
    from simulator.routing.router import Router

POLL_SECONDS = 0.01
"""How often to check, in real time, whether a machine has started or is below its hard limit again."""


@dataclass(frozen=True, slots=True)
class UseMachine:
    """Deliver the request to this machine, after a pause on the simulated clock."""

    machine: Machine
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class NoMachine:
    """No machine takes the request on this route."""

    reason: FailureReason
    wait_seconds: float = 0.0
    """How long to wait before the fallback or rejection, on the simulated clock."""
    is_overload: bool = False
    """Every matching machine stayed at its hard limit."""


class Balancer:
    """Chooses machines for the routes of one exchange, from the router's fleet and load at that moment."""

    def __init__(self, router: Router, edge: str, public_port: int) -> None:
        self._router = router
        self._options = router.options
        self._edge = edge
        self._public_port = public_port

    def choose(self, route: Route, now: float, wait_seconds: float = 0.0) -> UseMachine | Wait | NoMachine:
        """Choose a machine for `route`; a delivery to it first waits for `wait_seconds`."""
        choice = self._select(route, now)
        if choice.machine is not None:
            return UseMachine(choice.machine, wait_seconds)
        if route.start is not None:
            return self._check_start(route, route.start, now)
        if choice.start is not None and not (route.failed_starts and not route.seconds_left(now)):
            return self._check_start(route, MachineStart(choice.start.id, now), now)
        if choice.full and not route.tried:
            return self._queue(route, now)
        if choice.unstartable is not None:
            route.last_error = errors.not_startable(choice.unstartable.state.value)
        if route.tried:
            return self._start_next_round(route, now)
        if route.failed_starts:
            reason: FailureReason = (
                "timeout" if route.last_error is errors.NOT_REACHABLE else "retries_exhausted"
            )
            return NoMachine(reason)
        return self._look_again(route, now, wait_seconds)

    def retry(
        self, route: Route, failed: Machine, error: ProxyError, now: float
    ) -> UseMachine | Wait | NoMachine:
        """Choose again after a delivery to `failed` ended in `error` (F-5.41)."""
        route.attempts += 1
        route.last_error = error
        route.tried.add(failed.id)
        if not route.seconds_left(now):
            return NoMachine("timeout")
        if route.attempts >= self._options.attempts:
            return NoMachine("retries_exhausted")
        return self.choose(route, now)

    def _select(self, route: Route, now: float) -> Choice:
        router = self._router
        selector = Selector(
            router.fleet, router.load, self._edge, self._public_port, now, router.chance, router.aliases
        )
        target = route.target
        if route.start is not None:
            machine = router.fleet.find(route.start.machine_id)
            if (
                machine is not None and machine.is_candidate
            ):  # it takes the request it was started for (F-5.25)
                target = replace(target, prefer_instance=machine.id)
        skipped = route.tried | route.failed_starts if route.failed_starts else route.tried
        return selector.select(target, skipped)

    def _start_next_round(self, route: Route, now: float) -> UseMachine | Wait | NoMachine:
        """Every machine failed: try all of them again after a pause, if there is time for one (F-5.41)."""
        route.tried.clear()
        pause, left = route.pause_seconds(), route.seconds_left(now)
        if pause >= left:
            return NoMachine("timeout", left)
        return self.choose(route, now, pause)

    def _look_again(self, route: Route, now: float, wait_seconds: float) -> Wait | NoMachine:
        """No machine matches: a replay looks again until its time is up (F-1.51, K-31)."""
        left = route.seconds_left(now)
        if route.cause is not Cause.REPLAY or self._options.unready_instance == "reject" or not left:
            return NoMachine("no_candidate", wait_seconds)
        route.empty_rounds += 1
        return Wait(min(route.pause_seconds(), left), in_real_time=False)

    def _check_start(self, route: Route, start: MachineStart, now: float) -> UseMachine | Wait | NoMachine:
        """Request the start, wait for it, and detect that it failed (F-1.59, F-5.25)."""
        route.start = start
        machine = self._router.fleet.find(start.machine_id)
        if machine is None or machine.cordoned:
            state = "cordoned" if machine else "destroyed"
            return self._fail_start(route, start, errors.did_not_start(state), now)
        is_starting = machine.is_starting or (machine.state is MachineState.STARTED and not machine.healthy)
        if not is_starting and (start.was_starting or not machine.is_startable):
            return self._fail_start(route, start, errors.did_not_start(machine.state.value), now)
        # The proxy's own limit, or the replay's timeout if that is shorter (F-1.49, F-5.30).
        if now - start.since >= min(START_SECONDS, route.timeout_seconds):
            return self._fail_start(route, start, errors.NOT_REACHABLE, now)
        start.was_starting = is_starting
        if machine.is_startable and not start.requested and machine.state is not MachineState.SUSPENDING:
            start.requested = True
            self._router.request_start(machine.id)
        return Wait(POLL_SECONDS, in_real_time=True)

    def _fail_start(
        self, route: Route, start: MachineStart, error: ProxyError, now: float
    ) -> UseMachine | Wait | NoMachine:
        """The start failed: choose another machine, if there is one (F-5.41)."""
        route.failed_starts.add(start.machine_id)
        route.start, route.last_error = None, error
        return self.choose(route, now)

    def _queue(self, route: Route, now: float) -> Wait | NoMachine:
        """Every matching machine is at its hard limit: wait for one (F-5.6, K-31, K-36)."""
        if route.queued_since is None:
            route.queued_since = now
        if now - route.queued_since < min(self._options.queue_seconds, route.timeout_seconds):
            return Wait(POLL_SECONDS, in_real_time=True)
        return NoMachine("timeout", is_overload=True)
