from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.routing import App, Fleet, MachineState
from tests.routing.build import AMS_1, DEMO, DFW_1, DFW_2, fleet, machine


@pytest.mark.parametrize("state", MachineState)
def test_only_a_started_machine_is_a_candidate(state: MachineState) -> None:
    """F-5.47"""
    assert replace(AMS_1, state=state).is_candidate is (state is MachineState.STARTED)


def test_an_unhealthy_machine_is_not_a_candidate() -> None:
    """F-5.17"""
    assert not replace(AMS_1, healthy=False).is_candidate


def test_a_cordoned_machine_is_not_a_candidate() -> None:
    """F-5.13"""
    assert not replace(AMS_1, cordoned=True).is_candidate


def test_an_address_is_host_and_port() -> None:
    assert replace(AMS_1, host="127.0.0.2", port=4000).address == "127.0.0.2:4000"


APPS = [App("streams", hostnames=("example.com",)), App("chat", hostnames=("chat.example.com", "::1"))]


@pytest.mark.parametrize(
    ("host", "app"),
    [
        ("streams.fly.dev", "streams"),
        ("chat.fly.dev", "chat"),
        ("Chat.FLY.dev:8080", "chat"),
        ("example.com", "streams"),
        ("chat.example.com:443", "chat"),
        ("localhost:8080", "streams"),
        ("[::1]", "streams"),
        ("[::1]:8080", "streams"),
        ("unknown.fly.dev", "streams"),
        ("", "streams"),
    ],
)
def test_the_host_selects_the_app_or_else_the_first_app(host: str, app: str) -> None:
    found = Fleet.of(APPS).app_for_host(host)
    assert found is not None
    assert found.name == app


def test_a_fleet_without_apps_has_none_for_any_host() -> None:
    assert Fleet.of([]).app_for_host("streams.fly.dev") is None


def test_machines_are_found_by_id_and_by_app() -> None:
    chat = machine(1, "ams", "chat")
    both = fleet(*DEMO.machines, chat)
    assert both.find(DFW_1.id) == DFW_1
    assert both.find("00000000000000") is None
    assert both.of_app("chat") == (chat,)
    assert both.of_app("nobody") == ()


def test_candidates_are_grouped_by_distance() -> None:
    """F-5.1"""
    assert DEMO.candidates_by_distance("streams", "ams", 80) == ((AMS_1,), (DFW_1, DFW_2))
    assert DEMO.candidates_by_distance("streams", "sjc", 80) == ((DFW_1, DFW_2), (AMS_1,))


def test_unknown_regions_are_equally_far() -> None:
    """F-5.1"""
    one, other = machine(1, "xxx"), machine(2, "yyy")
    assert fleet(one, other).candidates_by_distance("streams", "ams", 80) == ((one, other),)


def test_candidates_are_available_machines_of_the_app() -> None:
    full = fleet(replace(AMS_1, cordoned=True), DFW_1, machine(1, "dfw", "chat"))
    assert full.candidates_by_distance("streams", "ams", 80) == ((DFW_1,),)


def test_a_changed_machine_makes_a_new_fleet() -> None:
    cordoned = replace(AMS_1, cordoned=True)
    DEMO.candidates_by_distance("streams", "ams", 80)
    changed = DEMO.with_machine(cordoned)
    assert changed.machines == (cordoned, DFW_1, DFW_2)
    assert changed.candidates_by_distance("streams", "ams", 80) == ((DFW_1, DFW_2),)
    assert DEMO.find(AMS_1.id) == AMS_1


def test_a_changed_app_makes_a_new_fleet() -> None:
    DEMO.app_for_host("streams.fly.dev")
    changed = DEMO.with_app(App("streams", hostnames=("example.com",))).with_app(App("chat"))
    assert list(changed.apps) == ["streams", "chat"]
    assert changed.app_for_host("example.com") == changed.apps["streams"]
    assert changed.app_for_host("chat.fly.dev") == changed.apps["chat"]
    assert list(DEMO.apps) == ["streams"]


def test_a_new_machine_is_added_at_the_end() -> None:
    added = machine(1, "iad")
    assert DEMO.with_machine(added).machines == (AMS_1, DFW_1, DFW_2, added)
