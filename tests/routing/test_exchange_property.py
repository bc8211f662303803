"""Whatever machines answer, however they fail and whichever stop meanwhile, an exchange keeps these promises."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.routing import (
    App,
    Cause,
    Deliver,
    Failure,
    Hop,
    Machine,
    MachineState,
    Reject,
    RoutingOptions,
    Trace,
    Wait,
)
from simulator.routing.directive import ReplayDirective, parse_directive
from simulator.routing.options import MAX_REPLAYS
from simulator.routing.regions import members
from tests.routing.build import Caller, fleet, machine

APPS = [App("streams"), App("chat")]
MACHINES = [
    machine(1, "ams"),
    machine(2, "dfw"),
    machine(3, "dfw"),
    machine(4, "iad"),
    machine(5, "ams", "chat"),
    machine(6, "iad", "chat"),
]
PAIRS = [
    *(f"instance={machine.id}" for machine in MACHINES),
    *(f"prefer_instance={machine.id}" for machine in MACHINES),
    *("region=ams", "region=dfw", "region=us", 'region="nrt,iad"', 'region="dfw,any"', "elsewhere=true"),
    *("app=streams", "app=chat", "app=nobody", "state=x", "timeout=300ms", "instance=gone", "nonsense"),
    *("fallback=force_self", "fallback=prefer_self"),
]


@dataclass(frozen=True)
class Step:
    """What comes of one delivery: a failure or else a replay; and the number of a machine that stops or starts."""

    after: float
    failure: Failure | None
    replay: str
    toggled: int | None


@dataclass(frozen=True)
class Delivery:
    """A machine that was chosen, as the fleet knew it at that moment."""

    chosen: Machine
    known: Machine | None


STEPS = st.builds(
    Step,
    st.sampled_from([0.0, 0.0, 0.1, 4.0]),
    st.sampled_from([None, None, None, *Failure]),
    st.lists(st.sampled_from(PAIRS), min_size=1, max_size=3, unique=True).map(";".join),
    st.sampled_from([None, None, None, *range(len(MACHINES))]),
)


class Play:
    """An exchange whose machines go through `steps` over and over, until it ends; toggles happen once."""

    def __init__(self, steps: list[Step], edge: str, attempts: int) -> None:
        self.deliveries: list[Delivery] = []
        options = RoutingOptions(attempts=attempts)
        self.caller = Caller(fleet(*MACHINES, apps=APPS), edge=edge, options=options, chance=lambda n: n - 1)
        for turn in range(1_000):
            if isinstance(self.caller.decision, Wait):
                self.caller.wait(1.0)
                continue
            if not isinstance(self.caller.decision, Deliver):
                return
            chosen = self.caller.decision.machine
            self.deliveries.append(Delivery(chosen, self.caller.router.fleet.find(chosen.id)))
            self._go_on(steps[turn % len(steps)], can_toggle=turn < len(steps))
        raise AssertionError("it does not end")

    def _go_on(self, step: Step, *, can_toggle: bool) -> None:
        if can_toggle and step.toggled is not None:
            self._toggle(MACHINES[step.toggled].id)
        if step.failure is not None:
            self.caller.fail(step.failure, after=step.after)
        else:
            self.caller.replay(step.replay, after=step.after)

    def _toggle(self, machine_id: str) -> None:
        router = self.caller.router
        machine = router.fleet.find(machine_id)
        assert machine is not None
        state = MachineState.STOPPED if machine.is_candidate else MachineState.STARTED
        router.fleet = router.fleet.with_machine(replace(machine, state=state))

    @property
    def hops(self) -> tuple[Hop, ...]:
        return self.caller.trace.hops


PLAYS = st.builds(
    Play,
    st.lists(STEPS, min_size=1, max_size=8),
    st.sampled_from(["ams", "dfw"]),
    st.sampled_from([1, 3, 40]),
)


@settings(max_examples=60)
@given(PLAYS)
def test_every_exchange_without_an_answer_ends_in_a_rejection(play: Play) -> None:
    assert isinstance(play.caller.decision, Reject)
    assert play.caller.trace.error == play.caller.rejection.error.code


@settings(max_examples=60)
@given(PLAYS)
def test_a_delivery_goes_to_a_machine_that_can_take_it_at_that_moment(play: Play) -> None:
    """F-5.13, F-5.17"""
    assert all(delivery.known == delivery.chosen for delivery in play.deliveries)
    assert all(delivery.chosen.is_candidate for delivery in play.deliveries)


@settings(max_examples=60)
@given(PLAYS)
def test_there_are_at_most_ten_replays_and_none_after_a_fallback(play: Play) -> None:
    """F-1.38, F-1.56"""
    causes = [hop.cause for hop in play.hops]
    assert causes.count(Cause.REPLAY) <= MAX_REPLAYS
    assert sum(hop.replay is not None for hop in play.hops) <= MAX_REPLAYS + 1
    if Cause.FALLBACK in causes:
        assert set(causes[causes.index(Cause.FALLBACK) + 1 :]) <= {Cause.RETRY}


def admits(directive: ReplayDirective, source: Hop, hop: Hop) -> bool:
    allowed = [members(region) for region in directive.regions]
    return (
        hop.app == (directive.app or source.app)
        and directive.instance in (None, hop.machine_id)
        and not (directive.elsewhere and hop.machine_id == source.machine_id)
        and (not allowed or any(codes is None or hop.region in codes for codes in allowed))
    )


@settings(max_examples=120)
@given(PLAYS)
def test_no_replay_and_no_retry_of_it_is_delivered_outside_the_directive(play: Play) -> None:
    """F-1.1, F-1.2, F-1.4, F-1.6, F-1.20: all but prefer_instance are hard conditions"""
    source, directive = play.hops[0], ReplayDirective(app="streams")
    for before, hop in zip(play.hops, play.hops[1:], strict=False):
        if before.replay is not None:
            source, directive = before, parse_directive(before.replay)
        if hop.cause is Cause.FALLBACK:
            assert directive.fallback is not None
            forced = directive.fallback == "force_self"
            directive = ReplayDirective(app=source.app, instance=source.machine_id if forced else None)
        assert admits(directive, source, hop)


@settings(max_examples=60)
@given(PLAYS)
def test_a_trace_is_the_same_after_a_journey_through_json(play: Play) -> None:
    trace = play.caller.trace
    assert Trace.from_dict(json.loads(json.dumps(trace.as_dict()))) == trace
