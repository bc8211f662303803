"""What lies between edges and machines: what the proxy is answered when it asks."""

from __future__ import annotations

import pytest

from simulator.network_conditions import Breaking, Cut, Delay, Failing, NetworkConditions, ResetTrigger
from simulator.routing.errors import Failure
from simulator.routing.model import Machine

AMS = Machine("d8dd626f379508", "ams-1", "chat", "ams")
DFW = Machine("286533db064e58", "dfw-1", "chat", "dfw")


@pytest.mark.parametrize(
    ("cut", "edge", "machine", "holds"),
    [
        ({}, "ams", DFW, True),
        ({"edge": "ams"}, "ams", DFW, True),
        ({"edge": "ams"}, "dfw", DFW, False),
        ({"region": "dfw"}, "ams", DFW, True),
        ({"region": "dfw"}, "ams", AMS, False),
        ({"machine_id": DFW.id}, "dfw", DFW, True),
        ({"machine_id": DFW.id}, "dfw", AMS, False),
        ({"edge": "ams", "machine_id": DFW.id}, "ams", DFW, True),
        ({"edge": "ams", "machine_id": DFW.id}, "dfw", DFW, False),
    ],
)
def test_a_condition_holds_where_everything_that_it_names_is_so(
    cut: dict[str, str], edge: str, machine: Machine, holds: bool
) -> None:
    network = NetworkConditions()
    network.add(Cut(words="cut", **cut))
    assert (network.find_cut(edge, machine) is not None) is holds


def test_links_are_false_as_long_as_there_is_no_condition() -> None:
    network = NetworkConditions()
    assert not network
    end, _ = network.add(Cut(words="one")), network.add(Cut(words="two"))
    assert network
    end()
    assert network
    end()  # it has ended already
    network.clear()
    assert not network


def test_two_conditions_that_look_alike_end_apart() -> None:
    network = NetworkConditions()
    end, _ = (network.add(Delay(words="far", seconds=1.0)) for _ in range(2))
    assert network.delay_seconds("ams", DFW) == 2.0
    end()
    assert network.delay_seconds("ams", DFW) == 1.0


def test_so_many_deliveries_fail_and_no_more() -> None:
    network = NetworkConditions()
    network.add(Failing(words="fails", machine_id=DFW.id, how=Failure.REFUSED, left=2))
    assert network.take_failure("ams", AMS) is None
    assert [network.take_failure("ams", DFW) is not None for _ in range(3)] == [True, True, False]
    assert not network


def test_every_change_is_told_until_nobody_wants_to_hear() -> None:
    network, told = NetworkConditions(), []
    unsubscribe = network.subscribe(lambda: told.append(bool(network)))
    network.add(Cut(words="cut"))
    network.clear()
    unsubscribe()
    network.add(Cut(words="cut"))
    assert told == [True, False]


@pytest.mark.parametrize(
    ("after", "sizes", "passed"),
    [
        (10, [4, 4, 4], [None, None, 2]),
        (10, [10, 1], [10]),
        (10, [9, 1], [None, 1]),
        (0, [1], [0]),
        (0, [0, 5], [None, 0]),
    ],
)
def test_a_meter_lets_exactly_so_many_bytes_pass(
    after: int, sizes: list[int], passed: list[int | None]
) -> None:
    network = NetworkConditions()
    network.add(Breaking(words="breaks", after_bytes=after))
    meter = ResetTrigger(network, "ams", DFW)
    for size, room in zip(sizes, passed, strict=False):
        broken = meter.count(size)
        assert (broken[0] if broken else None) == room


def test_a_meter_counts_from_when_the_fault_came_and_each_answer_for_itself() -> None:
    network = NetworkConditions()
    meter = ResetTrigger(network, "ams", DFW)
    assert meter.count(1000) is None
    network.add(Breaking(words="breaks", after_bytes=10, left=2))
    assert meter.count(9) is None
    assert meter.count(9) is not None
    assert ResetTrigger(network, "ams", DFW).count(9) is None
    assert ResetTrigger(network, "ams", DFW).count(11) is not None
    assert ResetTrigger(network, "ams", DFW).count(11) is None
    assert not network
