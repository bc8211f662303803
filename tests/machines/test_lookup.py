"""The DNS lookup backend, with a real resolver and a test name server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from simulator.clock import Clock
from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.events import Bus, Event, MachineStateChanged
from simulator.machines.lookup import LookupBackend
from simulator.machines.supervisor import MachineSupervisor
from simulator.routing.model import App, MachineState
from simulator.testing import eventually
from tests.machines.name_server import NameServer, name_server

AMS, DFW = "d8dd626f379508", "286533db064e58"


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


class Listeners:
    def __init__(self) -> None:
        self.port = 0
        self._servers: dict[str, asyncio.Server] = {}

    async def open(self, host: str) -> None:
        self._servers[host] = await asyncio.start_server(accept, host, self.port)
        self.port = self._servers[host].sockets[0].getsockname()[1]

    def close(self, *hosts: str) -> None:
        for host in hosts:
            self._servers[host].close()


class Harness:
    """A supervisor whose machines are found by name and listen on loopback addresses."""

    def __init__(self, names: NameServer, listeners: Listeners) -> None:
        self.names = names
        self.listeners = listeners
        port = listeners.port
        self.unassigned: list[str] = []
        self.forgotten: list[str] = []
        self.events: list[Event] = []
        bus = Bus()
        bus.subscribe(self.events.append)
        backend = LookupBackend(
            ["dfw"], self.unassigned.append, self.forgotten.append, name_server=names.address
        )
        specs = [
            MachineSpec(AMS, "ams-1", "streams", "ams", lookup="ams-1", internal_port=port),
            MachineSpec(DFW, "dfw-1", "streams", "dfw", lookup="dfw-1", internal_port=port),
        ]
        self.supervisor = MachineSupervisor(
            [App("streams")], specs, backend, bus, Clock(), allow_unhealthy=True
        )

    def is_routed_to(self, machine_id: str) -> bool:
        return self.supervisor.machine(machine_id).is_candidate

    def states(self, machine_id: str) -> list[MachineState]:
        changes = (event for event in self.events if isinstance(event, MachineStateChanged))
        return [change.after for change in changes if change.machine_id == machine_id]


@asynccontextmanager
async def machines_at(*hosts: str) -> AsyncIterator[Listeners]:
    """A listener on each address, all on the same port."""
    listeners = Listeners()
    try:
        for host in hosts:
            await listeners.open(host)
        yield listeners
    finally:
        listeners.close(*hosts)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with machines_at("127.0.0.1", "127.0.0.2", "::1") as listeners, name_server() as names:
        harness = Harness(names, listeners)
        yield harness
        await harness.supervisor.close()


async def test_a_machine_whose_name_resolves_gets_requests(harness: Harness) -> None:
    """F-8.17: the proxy connects over IPv4, other machines over IPv6."""
    harness.names.names = {"ams-1": ("127.0.0.1", "fdaa::1:2")}

    await harness.supervisor.open()
    await eventually(lambda: harness.is_routed_to(AMS), "its first check")

    machine = harness.supervisor.machine(AMS)
    assert (machine.host, machine.private_ip) == ("127.0.0.1", "fdaa::1:2")


async def test_a_machine_with_only_an_ipv6_address_is_reached_over_ipv6(harness: Harness) -> None:
    harness.names.names = {"ams-1": ("::1",)}

    await harness.supervisor.open()
    await eventually(lambda: harness.is_routed_to(AMS), "its first check")


async def test_a_machine_with_only_an_ipv4_address_has_it_as_its_private_address(harness: Harness) -> None:
    harness.names.names = {"ams-1": ("127.0.0.1",)}

    await harness.supervisor.open()

    assert harness.supervisor.machine(AMS).private_ip == "::ffff:127.0.0.1"


@pytest.mark.parametrize("addresses", [None, ()], ids=["no such name", "a name without addresses"])
async def test_an_absent_machine_is_stopped_and_does_not_fail_the_start(
    harness: Harness, addresses: tuple[str, ...] | None
) -> None:
    if addresses is not None:
        harness.names.names = {"dfw-1": addresses}

    await harness.supervisor.open()

    assert harness.supervisor.machine(DFW).state is MachineState.STOPPED


async def test_a_machine_that_disappears_gets_no_requests_until_it_returns(harness: Harness) -> None:
    harness.names.names = {"dfw-1": ("127.0.0.1",)}
    await harness.supervisor.open()
    await eventually(lambda: harness.is_routed_to(DFW), "its first check")

    harness.listeners.close("127.0.0.1")
    harness.names.names = {}
    await eventually(lambda: harness.supervisor.machine(DFW).state is MachineState.STOPPED, "its exit")
    await harness.listeners.open("127.0.0.1")
    harness.names.names = {"dfw-1": ("127.0.0.1",)}
    await eventually(lambda: harness.is_routed_to(DFW), "its return")

    assert harness.states(DFW) == [MachineState.STARTED, MachineState.STOPPED, MachineState.STARTED]


async def test_a_machine_that_still_listens_stays_started_without_a_name_and_is_reported_once(
    harness: Harness,
) -> None:
    harness.names.names = {"dfw-1": ("127.0.0.1",)}
    await harness.supervisor.open()
    await eventually(lambda: harness.is_routed_to(DFW), "its first check")

    harness.names.names = {}
    await eventually(lambda: bool(harness.forgotten), "the report")
    asked = len(harness.names.asked)
    await eventually(lambda: len(harness.names.asked) > asked + 8, "more queries")
    assert harness.forgotten == ["dfw-1"]
    assert harness.is_routed_to(DFW)

    harness.listeners.close("127.0.0.1")
    await eventually(lambda: harness.supervisor.machine(DFW).state is MachineState.STOPPED, "its exit")


async def test_a_machine_that_changes_its_address_is_restarted(harness: Harness) -> None:
    harness.names.names = {"dfw-1": ("127.0.0.1",)}
    await harness.supervisor.open()

    harness.names.names = {"dfw-1": ("127.0.0.2",)}
    await eventually(lambda: harness.supervisor.machine(DFW).host == "127.0.0.2", "its new address")

    assert harness.states(DFW) == [MachineState.STARTED, MachineState.STOPPED, MachineState.STARTED]


@pytest.mark.parametrize("fault", ["is_silent", "is_broken"])
async def test_a_name_server_without_a_response_does_not_change_a_machine(
    harness: Harness, fault: str
) -> None:
    harness.names.names = {"dfw-1": ("127.0.0.1",)}
    await harness.supervisor.open()
    asked = len(harness.names.asked)

    setattr(harness.names, fault, True)
    await eventually(lambda: len(harness.names.asked) > asked + 8, "more queries")
    setattr(harness.names, fault, False)
    asked = len(harness.names.asked)
    await eventually(lambda: len(harness.names.asked) > asked + 8, "more queries")

    assert harness.states(DFW) == [MachineState.STARTED]


async def test_a_name_that_belongs_to_no_machine_is_reported_once(harness: Harness) -> None:
    await harness.supervisor.open()
    assert harness.unassigned == []

    harness.names.names = {"dfw": ("127.0.0.1", "127.0.0.2")}
    await eventually(lambda: bool(harness.unassigned), "the report")
    asked = len(harness.names.asked)
    await eventually(lambda: len(harness.names.asked) > asked + 8, "more queries")

    assert harness.unassigned == ["dfw"]
    assert [machine.name for machine in harness.supervisor.fleet.machines] == ["ams-1", "dfw-1"]


async def test_a_looked_up_machine_cannot_be_controlled_without_the_engine(harness: Harness) -> None:
    await harness.supervisor.open()
    for action in (
        harness.supervisor.start,
        harness.supervisor.stop,
        harness.supervisor.kill,
        harness.supervisor.clone,
    ):
        with pytest.raises(InputError, match="access to the Docker engine"):
            await action(DFW)


async def test_without_docker_and_without_a_name_that_resolves_the_start_fails() -> None:
    backend = LookupBackend()
    spec = MachineSpec(AMS, "ams-1", "streams", "ams", lookup="no-such-machine")
    supervisor = MachineSupervisor([App("streams")], [spec], backend, Bus(), Clock(), allow_unhealthy=True)

    with pytest.raises(EnvironmentFault, match="no Docker engine, and") as caught:
        await supervisor.open()

    assert "docs/docker.md" in (caught.value.hint or "")
