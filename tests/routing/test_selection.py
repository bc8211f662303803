from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from simulator.routing import Fleet, Machine, MachineState
from simulator.routing.balancing.load import Load
from simulator.routing.balancing.selection import Chance, Choice, Selector, Target
from tests.routing.build import AMS_1, DEMO, DFW_1, DFW_2, NOW, fleet, machine, stopped, two_apps

LHR = machine(1, "lhr")
IAD = machine(2, "iad")
SJC = machine(3, "sjc")
WIDE = fleet(AMS_1, DFW_1, DFW_2, LHR, IAD, SJC)


def first(n: int) -> int:
    return 0


def last(n: int) -> int:
    return n - 1


def select(
    fleet: Fleet, target: Target, edge: str, tried: set[str], chance: Chance, **changes: Any
) -> Choice:
    selector = Selector(fleet, Load(), edge, 80, NOW, chance, {})
    return replace(selector, **changes).select(target, tried)


def pick(target: Target, edge: str = "ams", among: tuple[Machine, ...] = WIDE.machines) -> str | None:
    chosen = select(fleet(*among), target, edge, set(), first).machine
    return chosen.name if chosen else None


@pytest.mark.parametrize(
    ("edge", "name"), [("ams", "ams-1"), ("dfw", "dfw-1"), ("ewr", "iad-2"), ("nrt", "sjc-3")]
)
def test_the_closest_machine_is_chosen(edge: str, name: str) -> None:
    """F-5.1"""
    assert pick(Target("streams"), edge) == name


@pytest.mark.parametrize(("chance", "name"), [(first, "dfw-1"), (last, "dfw-2")])
def test_equal_machines_are_chosen_at_random(chance: object, name: str) -> None:
    """X-10, F-5.1"""
    chosen = select(WIDE, Target("streams"), "dfw", set(), chance).machine  # type: ignore[arg-type]
    assert chosen is not None
    assert chosen.name == name


def test_the_random_choice_is_among_equally_close_machines() -> None:
    """F-5.1"""
    asked: list[int] = []

    def chance(n: int) -> int:
        asked.append(n)
        return 0

    select(WIDE, Target("streams"), "dfw", set(), chance)
    assert asked == [2]


@pytest.mark.parametrize(
    ("regions", "name"),
    [
        (("dfw",), "dfw-1"),
        (("eu",), "ams-1"),
        (("us",), "iad-2"),
        (("usa",), "iad-2"),
        (("na",), "iad-2"),
        (("sjc", "iad"), "sjc-3"),
        (("nrt", "iad"), "iad-2"),
        (("nrt", "any"), "ams-1"),
        (("any",), "ams-1"),
        (("jnb", "eu", "us"), "ams-1"),
        (("us", "eu"), "iad-2"),
        (("apac",), None),
        (("sa", "jnb"), None),
        (("xyz",), None),
        (("AMS",), None),
        (("africa",), None),
    ],
)
def test_regions_are_tried_in_order_without_a_fallback(regions: tuple[str, ...], name: str | None) -> None:
    """F-1.1, F-1.18, F-1.20, F-1.21; unknown codes K-30, an alias for Africa F-1.19"""
    assert pick(Target("streams", regions=regions)) == name


def test_only_the_requested_instance_is_chosen() -> None:
    """F-1.2"""
    assert pick(Target("streams", instance=DFW_2.id)) == "dfw-2"
    assert pick(Target("streams", instance="00000000000000")) is None


@pytest.mark.parametrize(
    "changes", [{"state": MachineState.STOPPED}, {"healthy": False}, {"cordoned": True}], ids=str
)
def test_an_unavailable_instance_is_not_replaced_by_another(changes: dict[str, object]) -> None:
    """F-1.2, F-1.65, K-31"""
    asleep = replace(DFW_2, **changes)  # type: ignore[arg-type]
    assert pick(Target("streams", instance=DFW_2.id), among=(AMS_1, DFW_1, asleep)) is None


def test_an_instance_of_another_app_is_not_a_candidate() -> None:
    """F-1.16, K-10"""
    assert select(two_apps(), Target("chat", instance=DFW_1.id), "ams", set(), first) == Choice()


@pytest.mark.parametrize(
    ("regions", "name"), [(("dfw",), "dfw-1"), (("us",), "dfw-1"), (("any",), "dfw-1"), (("eu",), None)]
)
def test_an_instance_must_be_in_the_requested_regions(regions: tuple[str, ...], name: str | None) -> None:
    """F-1.20: all conditions but prefer_instance are hard"""
    assert pick(Target("streams", instance=DFW_1.id, regions=regions)) == name


def test_a_preferred_instance_is_chosen_before_a_closer_one() -> None:
    """F-1.3"""
    assert pick(Target("streams", prefer_instance=SJC.id)) == "sjc-3"


@pytest.mark.parametrize(
    "unavailable", [(), (stopped(SJC),), (replace(SJC, cordoned=True),)], ids=["gone", "stopped", "cordoned"]
)
def test_without_the_preferred_instance_another_is_chosen(unavailable: tuple[Machine, ...]) -> None:
    """F-1.3, F-1.46"""
    assert pick(Target("streams", prefer_instance=SJC.id), among=(AMS_1, IAD, *unavailable)) == "ams-1"


def test_the_replacement_matches_the_remaining_fields() -> None:
    """F-1.46"""
    target = Target("streams", prefer_instance=SJC.id, regions=("us",))
    assert pick(target, among=(AMS_1, IAD, DFW_1, stopped(SJC))) == "iad-2"


def test_a_preferred_instance_outside_the_regions_is_not_chosen() -> None:
    """F-1.20: a region is a hard condition, a preference is not"""
    assert pick(Target("streams", prefer_instance=SJC.id, regions=("eu",))) == "ams-1"


def test_a_preferred_instance_of_another_app_is_not_chosen() -> None:
    """F-1.46"""
    chosen = select(two_apps(), Target("chat", prefer_instance=DFW_1.id), "ams", set(), first).machine
    assert chosen is not None
    assert chosen.app == "chat"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (Target("streams", excluded=frozenset({AMS_1.id})), "lhr-1"),
        (Target("streams", excluded=frozenset({AMS_1.id}), regions=("ams",)), None),
        (Target("streams", excluded=frozenset({AMS_1.id}), instance=AMS_1.id), None),
        (Target("streams", excluded=frozenset({AMS_1.id}), prefer_instance=AMS_1.id), "lhr-1"),
    ],
)
def test_an_excluded_machine_is_never_chosen(target: Target, name: str | None) -> None:
    """F-1.6, F-1.66"""
    assert pick(target) == name


def test_machines_that_were_tried_are_skipped() -> None:
    """F-5.41"""
    tried = {AMS_1.id, DFW_1.id}
    assert select(DEMO, Target("streams"), "ams", tried, first) == Choice(machine=DFW_2)
    assert select(DEMO, Target("streams"), "ams", {*tried, DFW_2.id}, first) == Choice()
    assert select(DEMO, Target("streams", instance=DFW_1.id), "ams", tried, first) == Choice()


def test_an_unknown_app_has_no_candidate() -> None:
    """F-1.62"""
    assert pick(Target("nobody")) is None
