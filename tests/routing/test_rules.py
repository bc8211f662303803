"""Single rules that need no table, with one short exchange each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.routing import App, Deliver, Failure, Fleet, Reject, Relay, Router, RoutingOptions
from simulator.routing.decision import Redirect
from simulator.routing.service import HttpOptions, Service, ServicePort
from tests.routing.build import (
    AMS_1,
    CHAT_1,
    DEMO,
    DFW_1,
    DFW_2,
    NOW,
    REQUEST_ID,
    Caller,
    as_texts,
    autostart_fleet,
    fleet,
    machine,
    request,
    response,
    stopped,
)

SWITCHED_ON = RoutingOptions(cross_network_replays=("personal",))


def beside_chat(**chat: object) -> Fleet:
    """The demo's machines and an app `chat` with other settings, such as another network."""
    return fleet(*DEMO.machines, CHAT_1, apps=[App("streams"), App("chat", **chat)])  # type: ignore[arg-type]


# Across networks and organizations.


def test_cross_network_replays_can_be_enabled_per_organization() -> None:
    """F-1.69, F-8.25, X-3: it must be enabled, although older pages of Fly differ"""
    elsewhere = beside_chat(network="other")
    caller = Caller(elsewhere, options=SWITCHED_ON)
    assert isinstance(caller.replay("app=chat"), Deliver)
    assert caller.trace.hops[1].app == "chat"
    refused = Caller(elsewhere, options=RoutingOptions(cross_network_replays=("another",)))
    refused.replay("app=chat")
    assert refused.code == "PA05"


def test_cross_network_replays_do_not_allow_other_organizations() -> None:
    """F-1.69: the setting is about replays within one organization"""
    caller = Caller(beside_chat(org="other", network="other"), options=SWITCHED_ON)
    caller.replay("app=chat")
    assert caller.code == "PA05"


def test_replay_sources_allow_replays_from_other_organizations() -> None:
    """F-1.71, X-4: the target's list applies, although the page of error codes does not mention it"""
    caller = Caller(beside_chat(org="other", replay_sources=("personal",)))
    assert isinstance(caller.replay("app=chat"), Deliver)
    refused = Caller(beside_chat(org="other", replay_sources=("another",)))
    refused.replay("app=chat")
    assert refused.code == "PA05"


# What the proxy does not do.


def test_the_proxy_has_no_sticky_sessions_of_its_own() -> None:
    """F-2.24, F-12.1: the proxy sets no cookie and balances each request"""
    dallas = fleet(DFW_1, DFW_2)
    turns = iter([0, 1])
    router = Router(dallas, RoutingOptions(), lambda n: next(turns))
    reached = []
    for _ in range(2):
        exchange = router.open(request({"Cookie": "session=1"}), "dfw", REQUEST_ID, NOW)
        delivery = exchange.begin(NOW)
        assert isinstance(delivery, Deliver)
        reached.append(delivery.machine.name)
        relay = exchange.receive(response(200), NOW)
        assert isinstance(relay, Relay)
        assert "set-cookie" not in as_texts(relay.fields)
    assert reached == ["dfw-1", "dfw-2"]


def test_no_response_header_names_the_machine() -> None:
    """F-4.27: apps can add their own header"""
    caller = Caller()
    caller.replay(f"instance={DFW_1.id}")
    relay = caller.respond(200, {"X-Machine": "the app's own"})
    assert isinstance(relay, Relay)
    texts = as_texts(relay.fields)
    assert texts["x-machine"] == "the app's own"
    assert not [value for value in texts.values() if DFW_1.id in value or AMS_1.id in value]


@pytest.mark.parametrize(
    "target", [f"/?fly-force-instance-id={DFW_1.id}", f"/?fly-replay=instance={DFW_1.id}"]
)
def test_a_routing_header_in_the_query_has_no_effect(target: str) -> None:
    """F-1.94"""
    caller = Caller(request=request(target=target))
    assert caller.at == "ams-1"
    assert caller.decision.target == target  # type: ignore[union-attr]


def test_there_is_no_response_timeout() -> None:
    """F-10.17"""
    assert isinstance(Caller().respond(200, after=86_400.0), Relay)


def test_connections_have_no_idle_timeout_unless_the_app_sets_one() -> None:
    """F-9.7, F-10.9, K-35; F-10.10: the same applies to WebSockets"""
    port = ServicePort(80, 80, http=HttpOptions(idle_timeout_seconds=600.0))
    patient = fleet(AMS_1, apps=[App("streams", services=(Service(ports=(port,)),))])
    assert Caller().exchange.idle_timeout_seconds is None
    assert Caller(patient).exchange.idle_timeout_seconds == 600.0
    configured = RoutingOptions(idle_timeout_seconds=60.0)
    assert Caller(options=configured).exchange.idle_timeout_seconds == 60.0
    assert Caller(patient, options=configured).exchange.idle_timeout_seconds == 600.0


# What the proxy does.


def test_a_large_body_reaches_another_region_by_prefer_region() -> None:
    """F-1.37, F-3.12: any client can name the region, and the body is sent only once"""
    caller = Caller(request=request({"fly-prefer-region": "dfw"}, method="POST"))
    assert caller.at == "dfw-1"
    assert isinstance(caller.respond(200, body_kept=False), Relay)


def test_a_machine_id_can_have_the_format_of_old_examples() -> None:
    """F-1.67: 8 hex digits, as in Fly's documentation; an id is opaque"""
    old = replace(DFW_1, id="00bb33ff")
    caller = Caller(fleet(AMS_1, old))
    caller.replay("instance=00bb33ff")
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.machine == old


def test_a_replay_reaches_an_app_without_a_hostname() -> None:
    """F-1.60"""
    inner = beside_chat(hostnames=())
    caller = Caller(inner)
    caller.replay("app=chat")
    assert caller.at == CHAT_1.name
    assert caller.sent["host"] == "streams.fly.dev"


def test_a_replay_is_balanced_from_the_clients_edge() -> None:
    """F-1.29: of two machines in other regions, the one closer to the edge is chosen"""
    near_edge, near_source = machine(1, "lhr", "chat"), machine(2, "ord", "chat")
    both = fleet(DFW_1, near_edge, near_source, apps=[App("streams"), App("chat")])
    caller = Caller(both, edge="ams")
    assert caller.at == "dfw-1"
    caller.replay("app=chat")
    assert caller.at == near_edge.name
    assert caller.sent["fly-region"] == "ams"


# Between choice and delivery.


def test_a_machine_that_is_destroyed_before_the_delivery_is_pr02() -> None:
    """F-5.44, F-6.52: for example during a deploy; another machine gets the request"""
    caller = Caller()
    assert caller.at == "ams-1"
    caller.router.fleet = fleet(DFW_1)
    caller.fail()
    assert caller.at == "dfw-1"
    assert caller.trace.hops[0].failure == "[PR02] fly proxy could not find local instance for route"


def test_a_request_that_reached_a_destroyed_machine_is_not_resent() -> None:
    """F-5.44, F-6.12: the machine may have processed it"""
    caller = Caller()
    caller.router.fleet = fleet(DFW_1)
    caller.fail(Failure.CLOSED)
    assert caller.code == "PU02"


def test_the_proxy_starts_existing_machines_and_creates_none() -> None:
    """F-5.28: without any machine the request is rejected"""
    requested_starts: list[str] = []
    resting = autostart_fleet(stopped(DFW_1))
    router = Router(resting, RoutingOptions(), lambda n: 0, request_start=requested_starts.append)
    router.open(request(), "ams", REQUEST_ID, NOW).begin(NOW)
    assert requested_starts == [DFW_1.id]
    assert router.fleet == resting
    empty = Router(fleet(), RoutingOptions(), lambda n: 0, request_start=requested_starts.append)
    assert isinstance(empty.open(request(), "ams", REQUEST_ID, NOW).begin(NOW), Reject)
    assert requested_starts == [DFW_1.id]


def test_distance_is_measured_from_the_edge() -> None:
    """F-5.5: Fly uses measured round-trip times, flysim the distance of regions"""
    both = fleet(machine(1, "lhr"), machine(2, "ord"))
    assert Caller(both, edge="ams").at == "lhr-1"
    assert Caller(both, edge="iad").at == "ord-2"
    mine = request(client_ip="203.0.113.9")  # the client's location is irrelevant
    assert Caller(both, edge="iad", request=mine).at == "ord-2"


def test_flycast_uses_the_services_of_the_app() -> None:
    """F-8.20, F-8.21, K-43: force_https applies, and an app without a service is unreachable

    F-8.23: the headers name the calling machine and the edge.
    """
    inside = request({"Host": "streams.flycast"}, host="streams.flycast", client_ip="fdaa::2")
    caller = Caller(request=inside)
    assert caller.at == "ams-1"
    assert (caller.sent["fly-client-ip"], caller.sent["fly-region"]) == ("fdaa::2", "ams")
    port = ServicePort(80, 80, force_https=True)
    forced = fleet(AMS_1, apps=[App("streams", services=(Service(ports=(port,)),))])
    assert isinstance(Caller(forced, request=inside).decision, Redirect)
    without = fleet(AMS_1, apps=[App("streams", services=())])
    assert Caller(without, request=inside).code == "PR01"
