"""What the proxy does to machines on its own, on the fake backend: autostart, autostop, goodbyes (facts 5.3, 5.4)."""

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
from tests.contract.harness import INTERNAL_PORT, eventually

AMS, DFW, DFW_2 = "d8dd626f379508", "286533db064e58", "4d891ee9b43e08"
SERVICE = Service(autostop=Autostop.STOP)


class House:
    """A room with one machine in Amsterdam and two in Dallas, and its upkeep."""

    def __init__(self, app: App, command: str = "web") -> None:
        self.bus, self.clock, self.load = Bus(), Clock(), Load()
        self.events: list[Event] = []
        self.goodbyes: list[tuple[str, bool]] = []
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
        self.goodbyes.append((machine_id, self.supervisor.machine(machine_id).cordoned))

    def lines(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, ProxyLogged)]

    def states(self) -> dict[str, MachineState]:
        return {machine.name: machine.state for machine in self.supervisor.fleet.machines}


async def _house(service: Service = SERVICE, **options: str) -> AsyncIterator[House]:
    house = House(App("chat", primary_region="dfw", services=(service,)), **options)
    if not options:
        await house.supervisor.open()
    try:
        yield house
    finally:
        await house.autoscaler.close()
        await house.supervisor.close()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async for made in _house():
        yield made


@pytest.fixture
async def broken() -> AsyncIterator[House]:
    async for made in _house(command="broken"):
        yield made


@pytest.fixture
async def suspending() -> AsyncIterator[House]:
    async for made in _house(Service(autostop=Autostop.SUSPEND, min_machines_running=2)):
        yield made


async def test_a_wanted_machine_is_started_once_and_the_proxy_says_so(house: House) -> None:
    """F-1.59, F-5.29"""
    await house.supervisor.stop(AMS)
    house.autoscaler.request_start(AMS)
    house.autoscaler.request_start(AMS)
    await eventually(lambda: len(house.lines()) == 3, "upkeep")
    assert house.supervisor.machine(AMS).is_candidate
    assert house.lines()[0] == "Starting machine"
    assert house.lines()[1].startswith("machine started in ")
    assert house.lines()[2].startswith("machine became reachable in ")


async def test_a_wanted_machine_that_does_not_start_is_pm07(broken: House) -> None:
    """F-6.39"""
    broken.autoscaler.request_start(AMS)
    await eventually(lambda: len(broken.lines()) == 2, "upkeep")
    assert broken.lines()[1].startswith("[PM07] failed to change machine state: machine ams-1")


async def test_idle_machines_are_stopped_after_a_while_one_of_each_region(house: House) -> None:
    """F-5.32, F-5.33: the pass comes on the simulated clock; of two idle ones in Dallas one stays until the next."""
    house.autoscaler.open()
    house.clock.advance(AUTOSTOP_SECONDS)
    await eventually(lambda: list(house.states().values()).count(MachineState.STOPPED) == 2, "upkeep")
    assert house.states()["ams-1"] is MachineState.STOPPED
    house.clock.advance(AUTOSTOP_SECONDS)
    await eventually(lambda: set(house.states().values()) == {MachineState.STOPPED}, "upkeep")


async def test_a_machine_with_an_open_connection_is_not_idle(house: House) -> None:
    """F-5.33, F-5.38"""
    house.load.take(AMS, SERVICE)
    await house.autoscaler.stop_idle()
    assert house.states()["ams-1"] is MachineState.STARTED


async def test_a_machine_is_cordoned_and_its_websockets_are_told_before_it_stops(house: House) -> None:
    """F-5.36: soft cordon, a brief wait, GoAway; and no cordon is left behind."""
    await house.autoscaler.stop_idle()
    assert (AMS, True) in house.goodbyes
    assert not house.supervisor.machine(AMS).cordoned


async def test_suspend_keeps_the_machine_and_the_minimum_counts_in_the_primary_region(
    suspending: House,
) -> None:
    """F-5.34, F-5.35"""
    await suspending.autoscaler.stop_idle()
    assert suspending.states() == {
        "ams-1": MachineState.SUSPENDED,
        "dfw-1": MachineState.STARTED,
        "dfw-2": MachineState.STARTED,
    }


async def test_closing_ends_what_is_under_way(house: House) -> None:
    await house.supervisor.stop(AMS)
    house.autoscaler.open()
    house.autoscaler.request_start(AMS)
    await house.autoscaler.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("auto")]
