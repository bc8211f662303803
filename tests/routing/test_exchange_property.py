"""Properties of an exchange that hold for any responses, failures and state changes of machines."""

from __future__ import annotations

import json
from contextlib import suppress
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
    ReadBody,
    Reject,
    RoutingOptions,
    Trace,
    Wait,
)
from simulator.routing.options import MAX_REPLAYS
from simulator.routing.regions import members
from simulator.routing.replay.body import CONTENT_TYPE, parse_replay_body
from simulator.routing.replay.directive import DirectiveError, ReplayDirective, parse_directive
from simulator.routing.service import Service
from tests.routing.build import Caller, fleet, machine

SERVICES = (Service(hard_limit=2),)
APPS = [
    App("streams", services=SERVICES),
    App("chat", services=SERVICES),
    App("lab", network="lab", services=SERVICES),
    App("vault", org="other", services=SERVICES),
    App("open", org="other", replay_sources=("personal",), services=SERVICES),
    App("raw", services=()),
]
MACHINES = [
    machine(1, "ams"),
    machine(2, "dfw"),
    machine(3, "dfw"),
    machine(4, "iad"),
    machine(5, "ams", "chat"),
    machine(6, "iad", "chat"),
    *(machine(number, "ams", app.name) for number, app in enumerate(APPS[2:], 7)),
]
PAIRS = [
    *(("instance", machine.id) for machine in MACHINES),
    *(("prefer_instance", machine.id) for machine in MACHINES),
    *(("region", codes) for codes in ("ams", "dfw", "us", "nrt,iad", "dfw,any", "xyz", "")),
    *(("app", app.name) for app in APPS),
    *(("app", "nobody"), ("instance", "gone"), ("elsewhere", "true"), ("state", "x"), ("timeout", "300ms")),
    *(("fallback", "force_self"), ("fallback", "prefer_self"), ("nonsense", "")),
]


@dataclass(frozen=True)
class Step:
    """The result of one delivery: a failure, else a replay; and the index of a machine that stops or starts."""

    after: float
    failure: Failure | None
    pairs: tuple[tuple[str, str], ...]
    in_body: bool
    toggled: int | None

    @property
    def header(self) -> str:
        return ";".join(f'{key}="{text}"' if key == "region" else f"{key}={text}" for key, text in self.pairs)

    @property
    def body(self) -> bytes:
        typed = {key: text == "true" if key == "elsewhere" else text for key, text in self.pairs}
        return json.dumps(typed).encode()


@dataclass(frozen=True)
class Delivery:
    """A chosen machine, and the same machine in the fleet at that moment."""

    chosen: Machine
    known: Machine | None


STEPS = st.builds(
    Step,
    st.sampled_from([0.0, 0.0, 0.1, 4.0]),
    st.sampled_from([None, None, None, *Failure]),
    st.lists(st.sampled_from(PAIRS), min_size=1, max_size=3, unique=True).map(tuple),
    st.booleans(),
    st.sampled_from([None, None, None, *range(len(MACHINES))]),
)


class Run:
    """An exchange whose deliveries cycle through `steps` until it ends; each toggle happens once."""

    def __init__(self, steps: list[Step], edge: str, options: RoutingOptions, busy: int) -> None:
        self.deliveries: list[Delivery] = []
        self.options = options
        self.caller = Caller(fleet(*MACHINES, apps=APPS), edge=edge, options=options, chance=lambda n: n - 1)
        self.held = [self.caller.router.load.take(MACHINES[1].id, SERVICES[0]) for _ in range(busy)]
        turn = 0
        while turn < 1_000 and isinstance(self.caller.decision, Deliver | Wait):
            if isinstance(self.caller.decision, Wait):
                self._start_requested()
                self.caller.wait(1.0)
                continue
            chosen = self.caller.decision.machine
            self.deliveries.append(Delivery(chosen, self.caller.router.fleet.find(chosen.id)))
            self._apply(steps[turn % len(steps)], can_toggle=turn < len(steps))
            turn += 1

    def _apply(self, step: Step, *, can_toggle: bool) -> None:
        if can_toggle and step.toggled is not None:
            self._toggle(MACHINES[step.toggled].id)
        if step.failure is not None:
            self.caller.fail(step.failure, after=step.after)
        elif step.in_body:
            self.caller.respond(200, {"content-type": CONTENT_TYPE}, after=step.after)
            if isinstance(self.caller.decision, ReadBody):
                self.caller.receive_body(step.body)
        else:
            self.caller.replay(step.header, after=step.after)

    def _toggle(self, machine_id: str) -> None:
        machine = self.caller.router.fleet.find(machine_id)
        assert machine is not None
        self._put(machine_id, MachineState.STOPPED if machine.is_candidate else MachineState.STARTED)

    def _start_requested(self) -> None:
        """Start every second of the requested machines; the others fail."""
        for machine_id in self.caller.requested_starts:
            self._put(machine_id, MachineState.STARTED if int(machine_id, 16) % 2 else MachineState.FAILED)

    def _put(self, machine_id: str, state: MachineState) -> None:
        router = self.caller.router
        machine = router.fleet.find(machine_id)
        assert machine is not None
        router.fleet = router.fleet.with_machine(replace(machine, state=state))

    @property
    def hops(self) -> tuple[Hop, ...]:
        return self.caller.trace.hops


OPTIONS = st.builds(
    RoutingOptions,
    attempts=st.sampled_from([1, 3, 40]),
    fallback_on_refusal=st.booleans(),
    elsewhere_lasts=st.booleans(),
    retry_reached=st.booleans(),
    cross_network_replays=st.sampled_from([(), ("personal",)]),
    unready_instance=st.sampled_from(["retry", "reject"]),
)
RUNS = st.builds(
    Run,
    st.lists(STEPS, min_size=1, max_size=8),
    st.sampled_from(["ams", "dfw"]),
    OPTIONS,
    st.sampled_from([0, 0, 2]),
)


FEW_EXAMPLES = settings(max_examples=25, deadline=None)


@FEW_EXAMPLES
@given(RUNS)
def test_every_exchange_without_a_response_is_rejected(run: Run) -> None:
    assert isinstance(run.caller.decision, Reject)
    assert run.caller.trace.error == run.caller.rejection.error.code
    assert run.caller.elapsed < 11 * 20  # its duration is bounded, too


@FEW_EXAMPLES
@given(RUNS)
def test_a_delivery_goes_to_a_machine_that_is_a_candidate_at_that_moment(run: Run) -> None:
    """F-5.13, F-5.17"""
    assert all(delivery.known == delivery.chosen for delivery in run.deliveries)
    assert all(delivery.chosen.is_candidate for delivery in run.deliveries)


@FEW_EXAMPLES
@given(RUNS)
def test_there_are_at_most_ten_replays_and_none_after_a_fallback(run: Run) -> None:
    """F-1.38, F-1.56: at most eleven deliveries by replay or fallback, in either form"""
    causes = [hop.cause for hop in run.hops]
    assert causes.count(Cause.REPLAY) <= MAX_REPLAYS
    assert sum(hop.replay is not None for hop in run.hops) <= MAX_REPLAYS + 1
    assert sum(cause is not Cause.RETRY for cause in causes) <= MAX_REPLAYS + 1
    if Cause.FALLBACK in causes:
        assert set(causes[causes.index(Cause.FALLBACK) + 1 :]) <= {Cause.RETRY}


@FEW_EXAMPLES
@given(RUNS)
def test_a_finished_exchange_leaves_no_load(run: Run) -> None:
    """F-5.7"""
    run.caller.exchange.finish(run.caller.now)
    for key in run.held:
        run.caller.router.load.release(key)
    assert all(run.caller.router.load.of_machine(machine.id) == 0 for machine in MACHINES)


@FEW_EXAMPLES
@given(RUNS)
def test_no_replay_reaches_an_app_without_permission(run: Run) -> None:
    """F-1.68 to F-1.72: existence, network and organization, on each hop between two apps"""
    apps = {app.name: app for app in APPS}
    for before, hop in zip(run.hops, run.hops[1:], strict=False):
        source, target = apps[before.app], apps[hop.app]
        if source is target or hop.cause is Cause.FALLBACK:
            continue
        if before.replay is None:  # a retry of the previous replay
            assert hop.cause is Cause.RETRY
            continue
        if source.org == target.org:
            assert source.network == target.network or source.org in run.options.cross_network_replays
        else:
            assert source.org in target.replay_sources


def admits(directive: ReplayDirective, source: Hop, hop: Hop) -> bool:
    allowed = [members(region) for region in directive.regions]
    return (
        hop.app == (directive.app or source.app)
        and directive.instance in (None, hop.machine_id)
        and not (directive.elsewhere and hop.machine_id == source.machine_id)
        and (not allowed or any(codes is None or hop.region in codes for codes in allowed))
    )


def read(replay: str) -> ReplayDirective:
    if replay.startswith("{"):
        return parse_replay_body(replay.encode(), RoutingOptions()).directive
    return parse_directive(replay)


@FEW_EXAMPLES
@given(RUNS)
def test_replays_and_their_retries_match_the_directive(run: Run) -> None:
    """F-1.1, F-1.2, F-1.4, F-1.6, F-1.20: all but prefer_instance are hard conditions"""
    source, directive = run.hops[0], ReplayDirective(app="streams")
    for before, hop in zip(run.hops, run.hops[1:], strict=False):
        if before.replay is not None:
            source, directive = before, read(before.replay)
        if hop.cause is Cause.FALLBACK:
            assert directive.fallback is not None
            forced = directive.fallback == "force_self"
            directive = ReplayDirective(app=source.app, instance=source.machine_id if forced else None)
        assert admits(directive, source, hop)


@FEW_EXAMPLES
@given(RUNS)
def test_a_trace_survives_a_round_trip_through_json(run: Run) -> None:
    trace = run.caller.trace
    assert Trace.from_dict(json.loads(json.dumps(trace.as_dict()))) == trace


# Any bytes.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    *(
                        "region",
                        "instance",
                        "app",
                        "state",
                        "elsewhere",
                        "timeout",
                        "fallback",
                        "transform",
                        "cache",
                    ),
                    *(
                        "path",
                        "delete_headers",
                        "set_headers",
                        "name",
                        "value",
                        "prefix",
                        "ttl",
                        "invalidate",
                    ),
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_replay_body_is_parsed_or_refused(body: bytes) -> None:
    """F-1.84: only DirectiveError is raised, and every value is valid in a header field"""
    try:
        replay = parse_replay_body(body, RoutingOptions())
    except DirectiveError:
        return
    texts = (
        replay.directive.state,
        replay.directive.instance,
        replay.directive.app,
        *replay.directive.regions,
    )
    assert not any(character in (text or "") for text in texts for character in "\r\n\0")
    if replay.transform is not None:
        changed = replay.transform.apply(((b"a", b"1"),))
        assert not any(byte in name + value for name, value in changed for byte in b"\r\n\0")


@settings(max_examples=60)
@given(
    st.text(max_size=40)
    | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1"))
    | st.lists(
        st.sampled_from(["region", "=", '"', ";", ",", "iad", "timeout", "10s", " ", "elsewhere", "true"])
    ).map("".join)
)
def test_a_header_is_parsed_or_refused(value: str) -> None:
    """F-1.17: only DirectiveError is raised"""
    for lenient in (True, False):
        with suppress(DirectiveError):
            directive = parse_directive(value, lenient_region_list=lenient, bare_milliseconds=lenient)
            assert all(directive.regions)


@settings(max_examples=40)
@given(st.binary(max_size=40), st.booleans())
def test_any_replay_leads_to_a_delivery_or_a_rejection(raw: bytes, in_body: bool) -> None:
    """F-1.17, F-1.84"""
    caller = Caller(options=RoutingOptions(replay_error_seconds=0.0))
    if in_body:
        caller.replay_body(raw)
    else:
        caller.respond(200, {"fly-replay": raw.decode("latin-1")})
    assert isinstance(caller.decision, Deliver | Reject)
