"""Autostop: which machines one pass stops, for fleets of various sizes and loads (facts 5.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.routing import App, Machine, MachineState
from simulator.routing.balancing.autostop import machines_to_stop
from simulator.routing.balancing.load import Load
from simulator.routing.service import Autostop, Service
from tests.routing.build import fleet, machine, stopped

STOPPING = Service(soft_limit=2, autostop=Autostop.STOP)
AMS = [machine(number, "ams") for number in range(1, 5)]


def busy(machines: list[Machine], loads: list[int], *services: Service) -> Load:
    load = Load()
    for each, count in zip(machines, loads, strict=True):
        for _ in range(count):
            load.take(each.id, (services or (STOPPING,))[0])
    return load


def ended(machines: list[Machine], loads: list[int], *services: Service, **app: Any) -> list[tuple[str, str]]:
    """Names of the machines that one pass stops, with the action."""
    its = App("streams", services=services or (STOPPING,), **app)
    load = busy(machines, loads, *services)
    return [(each.name, how) for each, how in machines_to_stop(fleet(*machines, apps=[its]), load, its)]


@pytest.mark.parametrize(
    ("loads", "name"),
    [
        # F-5.33: a single running machine is stopped if its load is 0.
        ([0], "ams-1"),
        ([1], None),
        ([2], None),
        # F-5.33: else excess = running - (over soft + 1); F-5.2: a load equal to the soft limit is over it.
        ([0, 0], "ams-2"),
        ([1, 0], "ams-2"),
        ([0, 1], "ams-1"),
        ([1, 1], "ams-2"),
        ([2, 0], None),
        ([2, 2], None),
        ([2, 0, 0], "ams-3"),
        ([2, 2, 0], None),
        ([2, 9, 0, 1], "ams-3"),
        ([2, 2, 2, 0], None),
    ],
)
def test_a_region_keeps_the_machines_its_load_needs_and_one_spare(loads: list[int], name: str | None) -> None:
    """F-5.33; Fly does not document which of several machines: here the least loaded"""
    assert ended(AMS[: len(loads)], loads) == ([(name, "stop")] if name else [])


def test_one_pass_stops_at_most_one_machine_per_region() -> None:
    """F-5.32"""
    machines = [*AMS, machine(5, "dfw"), machine(6, "dfw"), machine(7, "iad")]
    assert ended(machines, [0] * 7) == [("ams-4", "stop"), ("dfw-6", "stop"), ("iad-7", "stop")]


@pytest.mark.parametrize(
    ("primary", "minimum", "names"),
    [
        ("ams", 0, ["ams-2", "dfw-5"]),
        ("ams", 1, ["ams-2", "dfw-5"]),
        ("ams", 2, ["dfw-5"]),
        ("ams", 9, ["dfw-5"]),
        ("dfw", 1, ["ams-2"]),
        ("lhr", 9, ["ams-2", "dfw-5"]),
        (None, 9, ["ams-2", "dfw-5"]),
    ],
)
def test_min_machines_running_applies_to_the_primary_region_only(
    primary: str | None, minimum: int, names: list[str]
) -> None:
    """F-5.34"""
    service = replace(STOPPING, min_machines_running=minimum)
    found = ended([*AMS[:2], machine(5, "dfw")], [0, 0, 0], service, primary_region=primary)
    assert [name for name, _ in found] == names


@pytest.mark.parametrize("how", Autostop)
def test_the_autostop_setting_selects_the_action(how: Autostop) -> None:
    """F-5.35"""
    expected = [] if how is Autostop.OFF else [("ams-1", how.value)]
    assert ended(AMS[:1], [0], replace(STOPPING, autostop=how)) == expected


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ("stop", "off", None),
        ("off", "suspend", None),
        ("suspend", "stop", "stop"),
        ("suspend", "suspend", "suspend"),
    ],
)
def test_of_several_services_the_most_cautious_setting_is_used(one: str, other: str, how: str | None) -> None:
    """F-5.35: not documented for a mixture; suspend falls back to stop"""
    services = [Service(autostop=Autostop(each), internal_port=port) for port, each in ((1, one), (2, other))]
    assert ended(AMS[:1], [0], *services) == ([("ams-1", how)] if how else [])


@pytest.mark.parametrize(
    "changes",
    [{"state": MachineState.STOPPED}, {"state": MachineState.STARTING}, {"cordoned": True}],
    ids=str,
)
def test_only_started_and_uncordoned_machines_are_counted(changes: dict[str, Any]) -> None:
    """F-5.13, F-5.33"""
    assert ended([AMS[0], replace(AMS[1], **changes)], [1, 0]) == []
    assert ended([replace(AMS[0], **changes)], [0]) == []


def test_an_unhealthy_machine_counts_as_running() -> None:
    """F-5.18, F-5.33"""
    assert ended([replace(AMS[0], healthy=False)], [0]) == [("ams-1", "stop")]


def test_process_groups_are_counted_separately() -> None:
    """F-5.12: a worker without a service is no spare machine, and autostop does not stop it"""
    web = replace(STOPPING, groups=("app",))
    worker = replace(AMS[1], group="worker")
    assert ended([AMS[0], worker], [1, 0], web) == []
    assert ended([worker], [0], web) == []
    assert ended([AMS[0], worker, AMS[2]], [1, 0, 0], web) == [("ams-3", "stop")]


def test_one_pass_stops_one_machine_of_two_groups_in_a_region() -> None:
    """F-5.32"""
    services = [
        replace(STOPPING, groups=(group,), internal_port=port) for group, port in (("app", 1), ("b", 2))
    ]
    assert ended([AMS[0], replace(AMS[1], group="b")], [0, 0], *services) == [("ams-1", "stop")]


def test_machines_of_other_apps_are_not_stopped() -> None:
    its = App("streams", services=(STOPPING,))
    both = fleet(machine(1, "ams", "chat"), apps=[its, App("chat")])
    assert machines_to_stop(both, Load(), its) == ()


MACHINES = st.lists(
    st.tuples(st.sampled_from(["ams", "dfw"]), st.sampled_from([0, 1, 2, 5]), st.booleans()), max_size=8
)


@settings(max_examples=60)
@given(MACHINES, st.integers(0, 3))
def test_repeated_passes_end_and_keep_the_required_machines(
    spread: list[tuple[str, int, bool]], minimum: int
) -> None:
    """F-5.32 to F-5.34: no pass stops a required machine"""
    app = App("streams", primary_region="ams", services=(replace(STOPPING, min_machines_running=minimum),))
    machines = [machine(number, region) for number, (region, _, _) in enumerate(spread, 1)]
    load = busy(machines, [count for _, count, _ in spread])
    now = fleet(
        *(m if on else stopped(m) for m, (_, _, on) in zip(machines, spread, strict=True)), apps=[app]
    )
    ams_before = sum(m.region == "ams" and m.is_candidate for m in now.machines)
    for _ in range(len(machines) + 1):
        chosen = machines_to_stop(now, load, app)
        regions = [each.region for each, _ in chosen]
        assert len(set(regions)) == len(regions)
        for each, _ in chosen:
            assert load.of_machine(each.id) < STOPPING.soft_limit
            now = now.with_machine(stopped(each))
    assert not machines_to_stop(now, load, app)
    running = [m for m in now.machines if m.is_candidate]
    assert sum(m.region == "ams" for m in running) >= min(minimum, ams_before)
