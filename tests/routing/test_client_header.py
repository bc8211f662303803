"""Routing headers of the client: preferred and forced regions and machines (facts 3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from simulator.routing import Deliver, Machine, MachineState, RoutingOptions
from simulator.routing.balancing.selection import Target
from simulator.routing.client_header import target_from_headers, wants_bypass
from tests.routing.build import (
    AMS_1,
    DEMO,
    DFW_1,
    DFW_2,
    Caller,
    autostart_fleet,
    fields,
    fleet,
    machine,
    request,
    stopped,
    two_apps,
)

LHR, IAD = machine(1, "lhr"), machine(2, "iad")
WIDE = fleet(AMS_1, DFW_1, DFW_2, LHR, IAD)
GONE = "00000000000000"


def asked(headers: dict[str, str], machines: Any = WIDE, **caller: Any) -> Caller:
    return Caller(machines, request=request(headers), **caller)


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        ({}, Target("a")),
        ({"fly-client-ip": "x", "accept": "*/*"}, Target("a")),
        ({"fly-prefer-region": "ams"}, Target("a", regions=("ams", "any"))),
        ({"Fly-Prefer-Region": "iad, ORD ,,us"}, Target("a", regions=("iad", "ord", "us", "any"))),
        ({"fly-force-region": "iad,ord,us"}, Target("a", regions=("iad", "ord", "us"))),
        ({"fly-prefer-instance-id": "m"}, Target("a", prefer_instance="m")),
        ({"FLY-FORCE-INSTANCE-ID": "m"}, Target("a", instance="m")),
        ({"fly-prefer-region": "", "fly-force-region": "", "fly-force-instance-id": ""}, Target("a")),
        # F-3.9: not documented; here force takes precedence over prefer
        ({"fly-force-region": "iad", "fly-prefer-region": "ams"}, Target("a", regions=("iad",))),
        ({"fly-force-instance-id": "m", "fly-prefer-instance-id": "n"}, Target("a", instance="m")),
        ({"fly-force-instance-id": "m", "fly-prefer-region": "ams"}, Target("a", instance="m")),
        (
            {"fly-force-instance-id": "m", "fly-force-region": "iad"},
            Target("a", instance="m", regions=("iad",)),
        ),
        (
            {"fly-prefer-instance-id": "m", "fly-prefer-region": "ams"},
            Target("a", prefer_instance="m", regions=("ams", "any")),
        ),
    ],
)
def test_client_headers_are_parsed_into_a_target(headers: dict[str, str], target: Target) -> None:
    """F-3.1, F-3.2, F-3.3, F-3.5, F-3.9"""
    assert target_from_headers(fields(headers), "a") == target


@pytest.mark.parametrize(
    ("headers", "machine"),
    [
        ({"fly-prefer-region": "dfw"}, "dfw-1"),
        ({"fly-prefer-region": "nrt,us"}, "iad-2"),  # aliases
        ({"fly-prefer-region": "nrt,syd"}, "ams-1"),  # then the closest machine in any region
        ({"fly-prefer-region": "xyz"}, "ams-1"),
        ({"fly-force-region": "nrt,dfw"}, "dfw-1"),
        ({"fly-force-region": "us"}, "iad-2"),
        ({"fly-force-region": "any"}, "ams-1"),
    ],
)
def test_regions_are_tried_in_order_and_only_preferred_ones_fall_back(
    headers: dict[str, str], machine: str
) -> None:
    """F-3.1, F-3.2"""
    assert asked(headers).at == machine


@pytest.mark.parametrize("status", [502, 503])
def test_a_forced_region_without_a_machine_has_no_candidate_at_once(status: int) -> None:
    """F-3.2, K-3"""
    caller = asked({"fly-force-region": "nrt,syd"}, options=RoutingOptions(no_candidate_status=status))
    assert (caller.code, caller.rejection.status, caller.elapsed) == ("PR04", status, 0.0)


def test_a_preferred_machine_gets_the_request_from_any_region() -> None:
    """F-3.3; in F-3.4 one user observed that it works within a region only"""
    caller = asked({"fly-prefer-instance-id": DFW_2.id})
    assert caller.at == "dfw-2"
    assert "fly-preferred-instance-unavailable" not in caller.sent


@pytest.mark.parametrize(
    "left",
    [
        fleet(AMS_1, DFW_1),
        fleet(AMS_1, stopped(DFW_2)),
        fleet(AMS_1, replace(DFW_2, healthy=False)),
        fleet(AMS_1, replace(DFW_2, cordoned=True)),
    ],
    ids=["unknown", "stopped", "unhealthy", "cordoned"],
)
def test_the_request_to_another_machine_names_the_unavailable_preferred_one(left: Any) -> None:
    """F-3.3, F-1.46, F-4.9"""
    caller = asked({"fly-prefer-instance-id": DFW_2.id}, left)
    assert (caller.at, caller.sent["fly-preferred-instance-unavailable"]) == ("ams-1", DFW_2.id)


def test_a_preferred_machine_at_its_hard_limit_is_unavailable() -> None:
    """F-3.3, F-1.46"""
    limited = autostart_fleet(AMS_1, DFW_1, hard_limit=1)
    first = asked({"fly-prefer-instance-id": DFW_1.id}, limited)
    second = Caller(request=first.exchange.request, router=first.router)
    assert (first.at, second.at) == ("dfw-1", "ams-1")
    assert second.sent["fly-preferred-instance-unavailable"] == DFW_1.id


def test_the_replacement_is_in_the_preferred_region() -> None:
    """F-3.1, F-3.3: the other headers still apply"""
    caller = asked({"fly-prefer-instance-id": GONE, "fly-prefer-region": "dfw"})
    assert caller.at == "dfw-1"


def test_a_forced_machine_gets_the_request() -> None:
    """F-3.5, F-3.14: in any letter case"""
    assert asked({"Fly-Force-Instance-Id": DFW_2.id}).at == "dfw-2"


@pytest.mark.parametrize(
    "left",
    [
        fleet(AMS_1, DFW_1),
        fleet(AMS_1, stopped(DFW_2)),
        fleet(AMS_1, replace(DFW_2, healthy=False)),
        fleet(AMS_1, replace(DFW_2, cordoned=True)),
        fleet(AMS_1, replace(DFW_2, app="chat")),
    ],
    ids=["unknown", "stopped", "unhealthy", "cordoned", "of another app"],
)
@pytest.mark.parametrize("status", [502, 503])
def test_no_other_machine_replaces_a_forced_one(left: Any, status: int) -> None:
    """F-3.5, F-3.7, K-5: 502, or the 503 that LiteFS expects"""
    caller = asked(
        {"fly-force-instance-id": DFW_2.id}, left, options=RoutingOptions(forced_instance_status=status)
    )
    assert (caller.code, caller.rejection.status, caller.trace.path) == ("PR04", status, ())


def test_a_forced_machine_that_refuses_is_retried_alone() -> None:
    """F-3.6"""
    caller = asked({"fly-force-instance-id": DFW_2.id})
    caller.fail_until_done()
    assert (caller.code, caller.trace.path) == ("PR03", ("dfw-2",))
    assert caller.trace.hops[0].attempts > 5


def test_a_forced_machine_outside_the_forced_region_is_not_a_candidate() -> None:
    """F-3.2, F-3.5: neither falls back"""
    assert asked({"fly-force-instance-id": DFW_1.id, "fly-force-region": "ams"}).code == "PR04"


@pytest.mark.parametrize(("autostart", "requested_starts"), [(True, [DFW_2.id]), (False, [])])
def test_a_stopped_forced_machine_is_started_if_autostart_is_on(
    autostart: bool, requested_starts: list[str]
) -> None:
    """F-3.8, F-5.26"""
    caller = asked(
        {"fly-force-instance-id": DFW_2.id},
        autostart_fleet(AMS_1, DFW_1, stopped(DFW_2), autostart=autostart),
    )
    assert caller.requested_starts == requested_starts


def test_headers_apply_to_one_request_only() -> None:
    """F-3.16: per request, not per connection"""
    first = asked({"fly-force-instance-id": DFW_2.id})
    assert (first.at, Caller(router=first.router).at) == ("dfw-2", "ams-1")


@pytest.mark.parametrize(
    "name", ["fly-force-instance-id", "Fly-Prefer-Instance-Id", "fly-force-region", "fly-prefer-region"]
)
@pytest.mark.parametrize("passed_on", [True, False])
def test_forwarding_client_headers_to_the_app_is_configurable(name: str, passed_on: bool) -> None:
    """F-3.11, K-37"""
    value = "ams" if "region" in name else AMS_1.id
    caller = asked(
        {name: value, "fly-replay-cache-control": "skip"},
        options=RoutingOptions(forward_client_headers=passed_on),
    )
    assert (name.lower() in caller.sent) is passed_on
    assert "fly-replay-cache-control" in caller.sent


@pytest.mark.parametrize("cookie", ["fly-force-instance-id", "fly-prefer-region"])
def test_a_cookie_with_the_name_of_a_routing_header_has_no_effect(cookie: str) -> None:
    """F-3.15"""
    assert asked({"Cookie": f"{cookie}={DFW_1.id}"}).at == "ams-1"


# After a replay.


@pytest.mark.parametrize(("client_wins", "machine"), [(False, "dfw-1"), (True, "dfw-2")])
def test_a_replay_overrides_the_client_by_default(client_wins: bool, machine: str) -> None:
    """F-3.10, K-14"""
    caller = asked(
        {"fly-force-instance-id": DFW_2.id}, options=RoutingOptions(client_headers_win=client_wins)
    )
    caller.replay(f"instance={DFW_1.id}")
    assert caller.at == machine
    winner = "the client's" if client_wins else "the replay's"
    assert caller.trace.warnings == (
        f"the client forces machine {DFW_2.id}, the replay names {DFW_1.id}: {winner} is used (K-14)",
    )


@pytest.mark.parametrize("directive", [f"instance={DFW_2.id}", "region=dfw"])
def test_a_replay_that_agrees_with_the_client_has_no_warning(directive: str) -> None:
    """K-14: only if both name different machines"""
    caller = asked({"fly-force-instance-id": DFW_2.id})
    caller.replay(directive)
    assert caller.trace.warnings == ()


def test_a_client_cannot_force_a_machine_of_another_app() -> None:
    """K-14, F-1.68: the other conditions of the replay still apply"""
    caller = asked(
        {"fly-force-instance-id": AMS_1.id}, two_apps(), options=RoutingOptions(client_headers_win=True)
    )
    caller.replay("app=chat;timeout=1s")
    assert (caller.code, caller.trace.path) == ("PR04", ("ams-1",))


@pytest.mark.parametrize("value", ["skip", "SKIP", " skip "])
def test_a_client_asks_for_a_cache_bypass(value: str) -> None:
    """F-2.29, F-3.13"""
    assert wants_bypass(fields({"Fly-Replay-Cache-Control": value}))
    assert not wants_bypass(fields({"fly-replay-cache-control": "no"}))
    assert not wants_bypass(())


def test_a_forced_machine_is_started_only_once() -> None:
    """F-3.8: the request waits for the same start"""
    asleep: Machine = stopped(DFW_2)
    caller = asked({"fly-force-instance-id": DFW_2.id}, autostart_fleet(AMS_1, asleep))
    caller.wait(0.1)
    starting = replace(asleep, state=MachineState.STARTING)
    caller.wait(0.1, autostart_fleet(AMS_1, starting))
    caller.wait(1.0, autostart_fleet(AMS_1, DFW_2))
    assert (caller.requested_starts, caller.at) == ([DFW_2.id], "dfw-2")
    assert isinstance(caller.decision, Deliver)
    assert DEMO.find(DFW_2.id) == DFW_2
