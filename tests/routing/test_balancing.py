"""Load balancing: load, limits, health, autostart and queue (facts 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from simulator.routing import App, Deliver, Failure, Machine, MachineState, RoutingOptions, Wait
from simulator.routing.balancing.balancer import POLL_SECONDS
from simulator.routing.balancing.load import Load, LoadClass
from simulator.routing.balancing.selection import RECENTLY_STOPPED_SECONDS, Choice, Selector, Target
from simulator.routing.options import START_SECONDS
from simulator.routing.service import Service
from tests.routing.build import (
    AMS_1,
    DEMO,
    DFW_1,
    DFW_2,
    NOW,
    Caller,
    autostart_fleet,
    fleet,
    machine,
    request,
    response,
    stopped,
)

AMS_2, LHR = machine(2, "ams"), machine(3, "lhr")
MACHINES = (AMS_1, AMS_2, DFW_1)
TO_DFW_1 = f"instance={DFW_1.id}"


def choose(
    loads: dict[str, int],
    service: Service,
    machines: tuple[Machine, ...] = MACHINES,
    target: Target = Target("streams"),  # noqa: B008  # it is frozen
) -> Choice:
    """The choice at edge ams; `loads` maps names of machines to their load."""
    load = Load()
    for each in machines:
        for _ in range(loads.get(each.name, 0)):
            load.take(each.id, service)
    there = fleet(*machines, apps=[App("streams", services=(service,))])
    return Selector(there, load, "ams", 80, NOW, lambda n: 0, {}).select(target)


LIMITED = Service(soft_limit=2, hard_limit=4, autostart=False)


@pytest.mark.parametrize(
    ("count", "load_class"),
    [(0, "BELOW_SOFT"), (1, "BELOW_SOFT"), (2, "ABOVE_SOFT"), (3, "ABOVE_SOFT"), (4, "FULL"), (9, "FULL")],
)
def test_a_machine_has_one_of_three_load_classes(count: int, load_class: str) -> None:
    """F-5.2, F-5.3: a load equal to a limit is above it"""
    load = Load()
    for _ in range(count):
        load.take(AMS_1.id, LIMITED)
    assert load.classify(AMS_1.id, LIMITED) is LoadClass[load_class]
    assert (load.of(AMS_1.id, LIMITED), load.of_machine(AMS_1.id), load.of_machine(DFW_1.id)) == (
        count,
        count,
        0,
    )


def test_the_default_limits_are_those_of_fly() -> None:
    """F-5.7, F-5.8, F-5.27: soft 20, hard none; a delivery is a unit of load of either type"""
    service, load = Service(), Load()
    assert (service.soft_limit, service.hard_limit, service.autostart, service.autostop) == (
        20,
        None,
        True,
        "off",
    )
    for _ in range(10_000):
        load.take(AMS_1.id, service)
    assert load.classify(AMS_1.id, service) is LoadClass.ABOVE_SOFT


def test_limits_apply_per_service() -> None:
    """F-5.9"""
    load, other = Load(), replace(LIMITED, internal_port=9090)
    for _ in range(4):
        load.take(AMS_1.id, LIMITED)
    assert load.classify(AMS_1.id, LIMITED) is LoadClass.FULL
    assert load.classify(AMS_1.id, other) is LoadClass.BELOW_SOFT
    assert load.of_machine(AMS_1.id) == 4


def test_a_released_delivery_does_not_count_as_load() -> None:
    load = Load()
    first, second = load.take(AMS_1.id, LIMITED), load.take(AMS_1.id, LIMITED)
    load.release(first)
    assert load.of_machine(AMS_1.id) == 1
    load.release(second)
    load.release(second)
    assert load.of_machine(AMS_1.id) == 0


@pytest.mark.parametrize(
    ("loads", "name"),
    [
        ({}, "ams-1"),
        ({"ams-1": 1}, "ams-1"),  # F-5.2: classes are compared, not exact numbers
        ({"ams-1": 2}, "ams-2"),  # F-5.3
        ({"ams-1": 3, "ams-2": 2}, "ams-1"),  # F-5.4: the soft limit never moves traffic to another region
        ({"ams-1": 4, "ams-2": 3}, "ams-2"),
        ({"ams-1": 4, "ams-2": 4}, "dfw-1"),  # F-5.4: every machine of the region is at its hard limit
        ({"ams-1": 4, "ams-2": 4, "dfw-1": 3}, "dfw-1"),
        ({"ams-1": 9, "ams-2": 4, "dfw-1": 4}, None),
    ],
)
def test_load_class_comes_before_distance_within_the_hard_limit(
    loads: dict[str, int], name: str | None
) -> None:
    """F-12.11, F-5.1, F-5.2, F-5.3, F-5.4, X-5, X-10"""
    choice = choose(loads, LIMITED)
    assert (choice.machine.name if choice.machine else None) == name
    assert choice.full is (name is None)


@pytest.mark.parametrize("changes", [{"healthy": False}, {"cordoned": True}], ids=str)
def test_traffic_leaves_a_region_with_unhealthy_or_cordoned_machines(changes: dict[str, Any]) -> None:
    """F-5.4, F-5.13, F-5.17"""
    unavailable = (replace(AMS_1, **changes), replace(AMS_2, **changes), DFW_1)
    assert choose({}, LIMITED, unavailable).machine == DFW_1


@pytest.mark.parametrize(
    ("regions", "loads", "name"),
    [
        (("dfw", "ams"), {"dfw-1": 2}, "dfw-1"),
        (("dfw", "ams"), {"dfw-1": 4}, "ams-1"),
        (("dfw",), {"dfw-1": 4}, None),
        (("lhr", "any"), {}, "ams-1"),
    ],
)
def test_the_next_region_of_a_list_is_used_only_if_the_first_is_full(
    regions: tuple[str, ...], loads: dict[str, int], name: str | None
) -> None:
    """F-1.20, F-5.4"""
    choice = choose(loads, LIMITED, target=Target("streams", regions=regions))
    assert (choice.machine.name if choice.machine else None) == name


def test_random_selection_skips_busy_machines() -> None:
    """F-5.1, F-5.3: a few random draws, then a scan of the region"""
    many = tuple(machine(number, "ams") for number in range(1, 9))
    loads = {each.name: 2 for each in many[:-1]}
    assert choose(loads, LIMITED, many).machine == many[-1]


# Candidates.


@pytest.mark.parametrize("state", MachineState)
def test_the_selection_for_each_machine_state(state: MachineState) -> None:
    """F-5.47, F-1.59, F-5.31, F-6.40"""
    there = replace(DFW_1, state=state)
    choice = choose({}, Service(), (there,), Target("streams", instance=DFW_1.id))
    expected = {
        "started": Choice(machine=there),
        "created": Choice(start=there),
        "stopped": Choice(start=there),
        "suspended": Choice(start=there),
        "suspending": Choice(start=there),
        "starting": Choice(start=there),
        "stopping": Choice(unstartable=there),
        "destroying": Choice(unstartable=there),
    }
    assert choice == expected.get(state.value, Choice())


def test_machines_that_do_not_offer_the_port_are_not_candidates() -> None:
    """F-5.12, F-9.15"""
    web = Service(groups=("web",), autostart=False)
    worker, asleep = replace(AMS_1, group="worker"), stopped(replace(AMS_2, group="worker"))
    assert choose({}, replace(web, autostart=True), (worker, asleep)) == Choice()
    assert choose({}, web, (worker, replace(DFW_1, group="web"))).machine is not None
    assert choose({}, web, (worker,), Target("streams", instance=AMS_1.id)) == Choice()


# Autostart.


@pytest.mark.parametrize("state", [MachineState.CREATED, MachineState.STOPPED, MachineState.SUSPENDED])
def test_if_none_is_running_the_closest_machine_is_started_and_gets_the_request(state: MachineState) -> None:
    """F-5.25, F-5.27, F-1.59"""
    caller = Caller(autostart_fleet(stopped(DFW_1), replace(AMS_1, state=state)))
    assert caller.requested_starts == [AMS_1.id]
    assert caller.decision == Wait(POLL_SECONDS, in_real_time=True)
    caller.wait(0.5, autostart_fleet(stopped(DFW_1), replace(AMS_1, state=MachineState.STARTING)))
    caller.wait(0.5, autostart_fleet(stopped(DFW_1), replace(AMS_1, healthy=False)))
    assert isinstance(caller.decision, Wait)
    caller.wait(0.5, autostart_fleet(stopped(DFW_1), AMS_1))
    assert caller.at == "ams-1"
    caller.respond()
    assert (caller.trace.path, caller.elapsed, caller.requested_starts) == (("ams-1",), 1.5, [AMS_1.id])
    assert caller.trace.hops[0].note == "the machine was started for this request in 1.5 s (F-1.59)"


def test_a_request_waits_for_a_starting_machine_instead_of_starting_another() -> None:
    """F-5.25"""
    starting = replace(DFW_1, state=MachineState.STARTING)
    caller = Caller(autostart_fleet(stopped(AMS_1), starting))
    assert caller.requested_starts == []
    caller.wait(0.5, autostart_fleet(stopped(AMS_1), DFW_1))
    assert caller.at == "dfw-1"


def test_if_all_running_machines_are_above_their_soft_limit_another_is_started() -> None:
    """F-5.25"""
    caller = Caller(autostart_fleet(AMS_1, stopped(DFW_1), soft_limit=1))
    second = Caller(router=caller.router)
    assert (caller.at, second.requested_starts) == ("ams-1", [DFW_1.id])
    second.wait(1.0, autostart_fleet(AMS_1, DFW_1, soft_limit=1))
    assert second.at == "dfw-1"


def test_if_one_machine_is_below_its_soft_limit_none_is_started() -> None:
    """F-5.25"""
    assert choose({}, Service(), (stopped(AMS_1), DFW_1)) == Choice(machine=DFW_1)


def test_with_autostart_off_no_machine_is_started() -> None:
    """F-12.10, F-5.26"""
    caller = Caller(autostart_fleet(stopped(AMS_1), autostart=False))
    assert (caller.code, caller.requested_starts, caller.elapsed) == ("PR04", [], 0.0)
    busy = choose({"ams-1": 2}, LIMITED, (AMS_1, stopped(AMS_2)))
    assert busy == Choice(machine=AMS_1)


@pytest.mark.parametrize(
    ("ams_since", "dfw_since", "started"),
    [
        (None, None, "ams-1"),
        (RECENTLY_STOPPED_SECONDS, None, "ams-1"),
        (RECENTLY_STOPPED_SECONDS - 1, None, "dfw-1"),
        (1, RECENTLY_STOPPED_SECONDS + 1, "dfw-1"),
        (1, 1, "ams-1"),
    ],
)
def test_a_recently_stopped_machine_is_started_only_if_there_is_no_other(
    ams_since: float | None, dfw_since: float | None, started: str
) -> None:
    """F-5.43, F-6.43, F-10.6 (gallery 34)"""
    asleep = [
        replace(stopped(each), stopped_at=NOW - since if since is not None else None)
        for each, since in ((AMS_1, ams_since), (DFW_1, dfw_since))
    ]
    choice = choose({}, Service(), tuple(asleep))
    assert choice.start is not None
    assert choice.start.name == started


@pytest.mark.parametrize(
    ("regions", "started"),
    [(("dfw",), "dfw-1"), (("nrt", "us"), "dfw-1"), (("any",), "ams-1"), (("nrt",), None)],
)
def test_only_machines_in_the_regions_of_a_replay_are_started(
    regions: tuple[str, ...], started: str | None
) -> None:
    """F-1.20, F-1.59"""
    choice = choose({}, Service(), (stopped(AMS_1), stopped(DFW_1)), Target("streams", regions=regions))
    assert (choice.start.name if choice.start else None) == started


@pytest.mark.parametrize("prefer", [True, False])
def test_a_replay_to_a_stopped_machine_starts_it(prefer: bool) -> None:
    """F-1.59; F-1.46: also a preferred one, before it is reported as unavailable"""
    caller = Caller(autostart_fleet(AMS_1, stopped(DFW_1), DFW_2))
    caller.replay(f"prefer_instance={DFW_1.id}" if prefer else TO_DFW_1)
    assert caller.requested_starts == [DFW_1.id]
    caller.wait(1.3, autostart_fleet(AMS_1, DFW_1, DFW_2))
    assert caller.at == "dfw-1"
    assert "fly-preferred-instance-unavailable" not in caller.sent


def test_a_suspending_machine_is_started_once_it_is_suspended() -> None:
    """F-5.31"""
    suspending = replace(AMS_1, state=MachineState.SUSPENDING)
    caller = Caller(autostart_fleet(suspending))
    assert (caller.requested_starts, caller.decision) == ([], Wait(POLL_SECONDS, in_real_time=True))
    caller.wait(0.1, autostart_fleet(replace(AMS_1, state=MachineState.SUSPENDED)))
    assert caller.requested_starts == [AMS_1.id]


def test_a_stopping_machine_cannot_be_started() -> None:
    """F-5.31, F-6.40: PM08 is the last error of the PR03"""
    caller = Caller(autostart_fleet(replace(DFW_1, state=MachineState.STOPPING), AMS_1))
    caller.replay(f"{TO_DFW_1};timeout=1s")
    assert caller.code == "PR03"
    assert (
        "last error: [PM08] machine is in a non-startable state: stopping" in caller.rejection.error.message
    )
    assert caller.elapsed == pytest.approx(1.0)


def test_a_machine_that_has_stopped_in_the_meantime_is_started() -> None:
    """F-1.59, F-5.31"""
    caller = Caller(autostart_fleet(replace(DFW_1, state=MachineState.STOPPING), AMS_1))
    decision = caller.exchange.receive(_replay_to_dfw(), NOW)
    assert decision == Wait(0.05, in_real_time=False)
    caller.router.fleet = autostart_fleet(stopped(DFW_1), AMS_1)
    assert caller.exchange.resume(NOW + 0.05) == Wait(POLL_SECONDS, in_real_time=True)
    assert caller.requested_starts == [DFW_1.id]


def _replay_to_dfw() -> Any:
    return response(307, {"fly-replay": TO_DFW_1})


def test_a_machine_that_does_not_start_in_time_is_pm05() -> None:
    """F-5.30, F-6.37, F-10.5"""
    caller = Caller(autostart_fleet(stopped(AMS_1)))
    caller.wait(START_SECONDS - 0.1, autostart_fleet(replace(AMS_1, healthy=False)))
    assert isinstance(caller.decision, Wait)
    caller.wait(0.2)
    assert (caller.code, caller.rejection.status) == ("PM05", 502)
    assert "gave up after 15 attempts (in 8.2s)" in caller.rejection.error.message


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (stopped(AMS_1), "[PM07] failed to change machine state: machine is stopped"),
        (
            replace(AMS_1, state=MachineState.FAILED),
            "[PM07] failed to change machine state: machine is failed",
        ),
        (replace(AMS_1, cordoned=True), "[PM07] failed to change machine state: machine is cordoned"),
        (None, "[PM07] failed to change machine state: machine is destroyed"),
    ],
    ids=["stopped again", "failed", "cordoned", "destroyed"],
)
def test_a_machine_that_exits_while_it_starts_is_pm07(outcome: Machine | None, text: str) -> None:
    """F-6.39, F-6.53: the last error of the PR03"""
    caller = Caller(autostart_fleet(stopped(AMS_1)))
    caller.wait(0.5, autostart_fleet(replace(AMS_1, state=MachineState.STARTING)))
    caller.wait(0.5, autostart_fleet(*([outcome] if outcome else [])))
    assert (caller.code, caller.rejection.status) == ("PR03", 502)
    assert text in caller.rejection.error.message


def test_another_machine_is_started_if_a_start_fails() -> None:
    """F-5.41"""
    asleep = stopped(DFW_1)
    caller = Caller(autostart_fleet(stopped(AMS_1), asleep))
    caller.wait(0.5, autostart_fleet(replace(AMS_1, state=MachineState.FAILED), asleep))
    assert caller.requested_starts == [AMS_1.id, DFW_1.id]
    caller.wait(0.5, autostart_fleet(stopped(AMS_1), DFW_1))
    assert caller.at == "dfw-1"


def test_no_other_machine_is_started_after_the_timeout() -> None:
    """F-5.30"""
    caller = Caller(autostart_fleet(stopped(AMS_1), stopped(DFW_1)))
    caller.wait(START_SECONDS)
    assert (caller.code, caller.requested_starts) == ("PM05", [AMS_1.id])


def test_a_busy_machine_takes_the_request_if_a_start_fails() -> None:
    """F-5.3, F-5.25"""
    caller = Caller(autostart_fleet(AMS_1, stopped(DFW_1), soft_limit=1))
    second = Caller(router=caller.router)
    second.wait(START_SECONDS)
    assert second.at == "ams-1"


def test_a_started_machine_that_refuses_is_retried() -> None:
    """F-5.16, F-5.41: early requests can fail"""
    caller = Caller(autostart_fleet(stopped(AMS_1)))
    caller.wait(1.0, autostart_fleet(AMS_1))
    caller.fail(Failure.REFUSED)
    assert (caller.at, caller.requested_starts) == ("ams-1", [AMS_1.id])


@pytest.mark.parametrize(
    ("rest", "at", "reason"),
    [(";timeout=2s;fallback=force_self", 2.0, "timeout"), (";fallback=force_self", START_SECONDS, "timeout")],
)
def test_a_replay_waits_for_a_start_until_its_timeout(rest: str, at: float, reason: str) -> None:
    """F-1.49, F-1.53, F-1.55, F-5.30"""
    caller = Caller(autostart_fleet(AMS_1, stopped(DFW_1)))
    caller.replay(TO_DFW_1 + rest)
    caller.wait(at - 0.1)
    assert isinstance(caller.decision, Wait)
    caller.wait(0.2)
    assert caller.at == "ams-1"
    assert f"reason={reason};elapsed_ms={round(at * 1000 + 100)}" in caller.sent["fly-replay-failed"]


def test_a_target_that_crashes_while_starting_is_retries_exhausted() -> None:
    """F-1.53, F-1.55"""
    caller = Caller(autostart_fleet(AMS_1, stopped(DFW_1)))
    caller.replay(f"{TO_DFW_1};fallback=force_self")
    caller.wait(0.5, autostart_fleet(AMS_1, replace(DFW_1, state=MachineState.FAILED)))
    assert "reason=retries_exhausted" in caller.sent["fly-replay-failed"]


# Queue.

FULL = {"soft_limit": 1, "hard_limit": 1, "autostart": False}


def test_a_request_is_queued_while_all_machines_are_full() -> None:
    """F-5.6, K-36"""
    first = Caller(autostart_fleet(AMS_1, **FULL))
    second = Caller(router=first.router)
    assert second.decision == Wait(POLL_SECONDS, in_real_time=True)
    first.respond()
    second.wait(1.0)
    assert isinstance(second.decision, Wait)  # the response is not complete yet (F-5.38)
    first.exchange.finish(NOW)
    second.wait(1.0)
    assert (second.at, second.elapsed) == ("ams-1", 2.0)
    assert second.trace.hops[0].note == "queued for 2.0 s: every machine was at its hard limit (F-5.6)"


@pytest.mark.parametrize(
    ("options", "seconds", "status"),
    [
        (RoutingOptions(), 10.0, 503),
        (RoutingOptions(queue_seconds=3.0), 3.0, 503),
        (RoutingOptions(overload_status=502), 10.0, 502),
    ],
)
def test_a_queued_request_is_rejected_after_the_queue_time(
    options: RoutingOptions, seconds: float, status: int
) -> None:
    """F-5.6, K-4, K-36"""
    first = Caller(autostart_fleet(AMS_1, **FULL), options=options)
    second = Caller(router=first.router)
    second.wait(seconds - 0.1)
    assert isinstance(second.decision, Wait)
    second.wait(0.1)
    assert (second.code, second.rejection.status) == ("PR04", status)


def test_without_a_queue_the_request_is_rejected_at_once() -> None:
    """K-36: 0"""
    first = Caller(autostart_fleet(AMS_1, **FULL), options=RoutingOptions(queue_seconds=0.0))
    assert Caller(router=first.router).code == "PR04"


def test_a_replay_to_a_full_machine_is_queued() -> None:
    """F-1.65, K-31"""
    holder = Caller(autostart_fleet(AMS_1, DFW_1, **FULL), edge="dfw")
    caller = Caller(router=holder.router)
    caller.replay(TO_DFW_1)
    assert caller.decision == Wait(POLL_SECONDS, in_real_time=True)
    holder.exchange.finish(NOW)
    caller.wait(0.5)
    assert caller.at == "dfw-1"


def test_a_replay_is_queued_no_longer_than_its_timeout() -> None:
    """F-1.49, F-1.53"""
    holder = Caller(autostart_fleet(AMS_1, DFW_1, **FULL), edge="dfw")
    caller = Caller(router=holder.router)
    caller.replay(f"{TO_DFW_1};timeout=1s;fallback=force_self")
    caller.wait(1.0)
    assert caller.at == "ams-1"
    assert "reason=timeout;elapsed_ms=1000" in caller.sent["fly-replay-failed"]


def test_a_full_machine_does_not_prevent_retries_of_one_that_refuses() -> None:
    """F-5.41"""
    holder = Caller(autostart_fleet(AMS_1, DFW_1, **FULL), edge="dfw")
    caller = Caller(router=holder.router)
    caller.fail()
    assert caller.at == "ams-1"
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.wait_seconds > 0


# What counts as load.


def test_a_delivery_is_load_until_its_response_is_complete() -> None:
    """F-5.7, F-5.38: an open WebSocket is load"""
    caller = Caller()
    load = caller.router.load
    assert load.of_machine(AMS_1.id) == 1
    caller.replay(TO_DFW_1)
    assert (load.of_machine(AMS_1.id), load.of_machine(DFW_1.id)) == (0, 1)
    caller.respond(101)
    assert load.of_machine(DFW_1.id) == 1
    caller.exchange.finish(NOW)
    caller.exchange.finish(NOW)
    assert load.of_machine(DFW_1.id) == 0


def test_a_failed_delivery_does_not_count_as_load() -> None:
    """F-5.7"""
    caller = Caller()
    caller.fail()
    assert (caller.router.load.of_machine(AMS_1.id), caller.at) == (0, "dfw-1")


def test_an_exchange_from_before_a_reset_does_not_change_the_load_after_it() -> None:
    before = Caller()
    before.router.reset()
    after = Caller(router=before.router)
    before.exchange.finish(NOW)
    assert after.router.load.of_machine(AMS_1.id) == 1


# Retries.


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"])
@pytest.mark.parametrize("choice", [False, True])
def test_a_request_that_reached_the_app_is_resent_only_if_configured(method: str, choice: bool) -> None:
    """F-5.45, K-34: never by default; idempotent ones if configured"""
    caller = Caller(request=request(method=method), options=RoutingOptions(retry_reached=choice))
    caller.fail(Failure.CLOSED)
    again = choice and method not in ("POST", "PATCH")
    assert isinstance(caller.decision, Deliver) is again
    if not again:
        assert (caller.code, caller.rejection.status) == ("PU02", 502)


def test_other_machines_are_tried_before_the_same_one_again() -> None:
    """F-5.41, F-5.42"""
    caller = Caller(DEMO)
    for _ in range(4):
        caller.fail()
    assert caller.trace.path == ("ams-1", "dfw-1", "dfw-2", "ams-1", "dfw-1")
