"""Autostart and autostop, with GoAway to WebSockets, on the fake backend (facts 5.3, 5.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from simulator.autoscaler import AUTOSTOP_SECONDS, Autoscaler
from simulator.clock import Clock
from simulator.config.model import MachineSpec
from simulator.events import Bus, Event, ProxyLogged
from simulator.machines.fake import FakeApp, FakeBackend
from simulator.machines.supervisor import MachineSupervisor
from simulator.routing.balancing.load import Load
from simulator.routing.model import App, MachineState
from simulator.routing.service import Autostop, Service
from simulator.testing import INTERNAL_PORT, eventually

AMS, DFW, DFW_2 = "d8dd626f379508", "286533db064e58", "4d891ee9b43e08"
SERVICE = Service(autostop=Autostop.STOP)


class Harness:
    """A supervisor with one machine in Amsterdam and two in Dallas, and its autoscaler."""

    def __init__(self, app: App, command: str = "web") -> None:
        self.bus, self.clock, self.load = Bus(), Clock(), Load()
        self.events: list[Event] = []
        self.closed_websockets: list[tuple[str, bool]] = []
        self.bus.subscribe(self.events.append)
        specs = [
            MachineSpec(machine_id, name, "chat", name[:3], (command, "{host}"), internal_port=INTERNAL_PORT)
            for machine_id, name in ((AMS, "ams-1"), (DFW, "dfw-1"), (DFW_2, "dfw-2"))
        ]
        backend = FakeBackend({"broken": FakeApp(exits_with=7)})
        self.supervisor = MachineSupervisor([app], specs, backend, self.bus, self.clock)
        self.autoscaler = Autoscaler(
            self.supervisor, lambda: self.load, self.bus, self.clock, self.close_websockets
        )

    async def close_websockets(self, machine_id: str) -> None:
        self.closed_websockets.append((machine_id, self.supervisor.machine(machine_id).cordoned))

    def lines(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, ProxyLogged)]

    def states(self) -> dict[str, MachineState]:
        return {machine.name: machine.state for machine in self.supervisor.fleet.machines}


async def _harness(service: Service = SERVICE, **options: str) -> AsyncIterator[Harness]:
    harness = Harness(App("chat", primary_region="dfw", services=(service,)), **options)
    if not options:
        await harness.supervisor.open()
    try:
        yield harness
    finally:
        await harness.autoscaler.close()
        await harness.supervisor.close()


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async for made in _harness():
        yield made


@pytest.fixture
async def broken() -> AsyncIterator[Harness]:
    async for made in _harness(command="broken"):
        yield made


@pytest.fixture
async def suspending() -> AsyncIterator[Harness]:
    async for made in _harness(Service(autostop=Autostop.SUSPEND, min_machines_running=2)):
        yield made


async def test_a_machine_that_a_request_waits_for_is_started_once_and_logged(harness: Harness) -> None:
    """F-1.59, F-5.29"""
    await harness.supervisor.stop(AMS)
    harness.autoscaler.request_start(AMS)
    harness.autoscaler.request_start(AMS)
    await eventually(lambda: len(harness.lines()) == 3, "the autoscaler")
    assert harness.supervisor.machine(AMS).is_candidate
    assert harness.lines()[0] == "Starting machine"
    assert harness.lines()[1].startswith("machine started in ")
    assert harness.lines()[2].startswith("machine became reachable in ")


async def test_a_machine_that_fails_to_start_is_logged_as_pm07(broken: Harness) -> None:
    """F-6.39"""
    broken.autoscaler.request_start(AMS)
    await eventually(lambda: len(broken.lines()) == 2, "the autoscaler")
    assert broken.lines()[1].startswith("[PM07] failed to change machine state: machine ams-1")


async def test_each_pass_stops_one_idle_machine_per_region(harness: Harness) -> None:
    """F-5.32, F-5.33: passes run on the simulated clock; of two idle machines in Dallas one stays until the next."""
    harness.autoscaler.open()
    harness.clock.advance(AUTOSTOP_SECONDS)
    await eventually(
        lambda: list(harness.states().values()).count(MachineState.STOPPED) == 2, "the autoscaler"
    )
    assert harness.states()["ams-1"] is MachineState.STOPPED
    harness.clock.advance(AUTOSTOP_SECONDS)
    await eventually(lambda: set(harness.states().values()) == {MachineState.STOPPED}, "the autoscaler")


async def test_a_machine_with_an_open_connection_is_not_idle(harness: Harness) -> None:
    """F-5.33, F-5.38"""
    harness.load.take(AMS, SERVICE)
    await harness.autoscaler.stop_idle()
    assert harness.states()["ams-1"] is MachineState.STARTED


async def test_a_machine_is_cordoned_and_its_websockets_get_goaway_before_it_stops(harness: Harness) -> None:
    """F-5.36: soft cordon, a brief wait, GoAway; and the cordon is removed again."""
    await harness.autoscaler.stop_idle()
    assert (AMS, True) in harness.closed_websockets
    assert not harness.supervisor.machine(AMS).cordoned


async def test_suspend_keeps_the_machine_and_the_minimum_counts_in_the_primary_region(
    suspending: Harness,
) -> None:
    """F-5.34, F-5.35"""
    await suspending.autoscaler.stop_idle()
    assert suspending.states() == {
        "ams-1": MachineState.SUSPENDED,
        "dfw-1": MachineState.STARTED,
        "dfw-2": MachineState.STARTED,
    }


async def test_close_cancels_starts_and_passes(harness: Harness) -> None:
    await harness.supervisor.stop(AMS)
    harness.autoscaler.open()
    harness.autoscaler.request_start(AMS)
    await harness.autoscaler.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("auto")]
