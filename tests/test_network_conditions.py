"""Network conditions between edges and machines."""

from __future__ import annotations

import pytest

from simulator.network_conditions import (
    Cut,
    Delay,
    FailedDeliveries,
    NetworkConditions,
    ResetTrigger,
    ResponseResets,
)
from simulator.routing.errors import Failure
from simulator.routing.model import Machine

AMS = Machine("d8dd626f379508", "ams-1", "chat", "ams")
DFW = Machine("286533db064e58", "dfw-1", "chat", "dfw")


@pytest.mark.parametrize(
    ("cut", "edge", "machine", "applies"),
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
def test_a_condition_applies_if_every_field_matches(
    cut: dict[str, str], edge: str, machine: Machine, applies: bool
) -> None:
    network = NetworkConditions()
    network.add(Cut(description="cut", **cut))
    assert (network.find_cut(edge, machine) is not None) is applies


def test_network_conditions_are_false_without_a_condition() -> None:
    network = NetworkConditions()
    assert not network
    end, _ = network.add(Cut(description="one")), network.add(Cut(description="two"))
    assert network
    end()
    assert network
    end()  # removed already
    network.clear()
    assert not network


def test_two_equal_conditions_are_removed_separately() -> None:
    network = NetworkConditions()
    end, _ = (network.add(Delay(description="far", seconds=1.0)) for _ in range(2))
    assert network.delay_seconds("ams", DFW) == 2.0
    end()
    assert network.delay_seconds("ams", DFW) == 1.0


def test_only_the_configured_number_of_deliveries_fails() -> None:
    network = NetworkConditions()
    network.add(
        FailedDeliveries(description="fails", machine_id=DFW.id, failure=Failure.REFUSED, remaining=2)
    )
    assert network.take_failure("ams", AMS) is None
    assert [network.take_failure("ams", DFW) is not None for _ in range(3)] == [True, True, False]
    assert not network


def test_listeners_are_called_for_every_change_until_they_unsubscribe() -> None:
    network, notified = NetworkConditions(), []
    unsubscribe = network.subscribe(lambda: notified.append(bool(network)))
    network.add(Cut(description="cut"))
    network.clear()
    unsubscribe()
    network.add(Cut(description="cut"))
    assert notified == [True, False]


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
def test_exactly_the_configured_number_of_bytes_passes_before_a_reset(
    after: int, sizes: list[int], passed: list[int | None]
) -> None:
    network = NetworkConditions()
    network.add(ResponseResets(description="breaks", after_bytes=after))
    trigger = ResetTrigger(network, "ams", DFW)
    for size, expected in zip(sizes, passed, strict=False):
        reset = trigger.count(size)
        assert (reset[0] if reset else None) == expected


def test_bytes_are_counted_from_the_start_of_the_fault_and_for_each_response() -> None:
    network = NetworkConditions()
    trigger = ResetTrigger(network, "ams", DFW)
    assert trigger.count(1000) is None
    network.add(ResponseResets(description="breaks", after_bytes=10, remaining=2))
    assert trigger.count(9) is None
    assert trigger.count(9) is not None
    assert ResetTrigger(network, "ams", DFW).count(9) is None
    assert ResetTrigger(network, "ams", DFW).count(11) is not None
    assert ResetTrigger(network, "ams", DFW).count(11) is None
    assert not network
