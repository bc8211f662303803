"""TCP passthrough connections: machine selection, retries, autostart and load."""

from __future__ import annotations

import asyncio
import socket

from simulator.routing import App, MachineState
from simulator.routing.service import Service, ServicePort
from tests.proxy.harness import AMS, DFW, Harness, open_harness, until
from tests.proxy.machine import MachineWire
from tests.proxy.test_listener import free_files

RAW = App("streams", services=(Service(ports=(ServicePort(5432, 5432, ()),)),))
ON_AMS = {("ams", 5432): 0}


async def greet(wire: MachineWire) -> None:
    await wire.send(b"hello")


async def refusing(harness: Harness, machine_id: str, region: str) -> None:
    machine = await harness.add_machine(machine_id, region, greet)
    await machine.stop()


async def test_a_refused_tcp_connection_goes_to_another_machine() -> None:
    """F-5.41"""
    async with open_harness(app=RAW, extra_ports=ON_AMS) as harness:
        await refusing(harness, AMS, "ams")
        await harness.add_machine(DFW, "dfw", greet)
        assert await (await harness.connect(public_port=5432)).read_to_end() == b"hello"
        assert not harness.proxy_log()


async def test_a_tcp_connection_that_every_machine_refuses_ends_in_pc07_after_six_attempts() -> None:
    """F-6.22: the proxy closes the client's connection."""
    async with open_harness(app=RAW, extra_ports=ON_AMS) as harness:
        await refusing(harness, AMS, "ams")
        assert await (await harness.connect(public_port=5432)).is_closed()
        (line,) = harness.proxy_log()
        assert (line.code, line.app, line.region) == ("PC07", "streams", "ams")
        assert "after 6 attempts. last error: [PC01]" in line.message
        assert harness.router.load.of_machine(AMS) == 0


async def test_a_lack_of_file_descriptors_is_told_from_a_failure_of_the_machine() -> None:
    async with open_harness(app=RAW, extra_ports=ON_AMS) as harness:
        machine = await harness.add_machine(AMS, "ams", greet)
        with socket.socket() as client:
            client.setblocking(False)
            with free_files(1):  # for the client's connection, none for the machine's
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, harness.server.all_addresses["ams", 5432])
                assert await loop.sock_recv(client, 5) == b""
        lines = [line.message for line in harness.proxy_log()]
        assert any(line.startswith("ams-1 cannot be reached: too many open files; this ") for line in lines)
        assert machine.connections == 0


async def test_a_tcp_connection_starts_a_stopped_machine() -> None:
    """F-5.25: autostart works for TCP, too."""
    async with open_harness(app=RAW, extra_ports=ON_AMS) as harness:
        machine = await harness.add_machine(AMS, "ams", greet)
        harness.change(machine, state=MachineState.STOPPED)
        start_requests: list[str] = []
        harness.router.request_start = start_requests.append
        client = await harness.connect(public_port=5432)
        await until(lambda: start_requests)
        harness.change(machine, state=MachineState.STARTED)
        assert await client.read_to_end() == b"hello"
        assert start_requests == [AMS]


async def test_a_bug_in_flysim_closes_a_tcp_connection() -> None:
    def fail(machine_id: str) -> None:
        raise LookupError(machine_id)

    async with open_harness(app=RAW, extra_ports=ON_AMS) as harness:
        harness.expected_bugs = 1
        machine = await harness.add_machine(AMS, "ams", greet)
        harness.change(machine, state=MachineState.STOPPED)
        harness.router.request_start = fail
        assert await (await harness.connect(public_port=5432)).is_closed()
        assert await (await harness.connect(public_port=5432)).is_closed()
        (line,) = harness.reported_bugs()
        assert line.startswith(f"flysim hit a bug: LookupError: {AMS}; report: ")


async def test_a_tcp_connection_counts_as_load_until_it_closes() -> None:
    """F-5.38, F-5.7"""
    end = asyncio.Event()

    async def stay(wire: MachineWire) -> None:
        await wire.send(b"hello")
        await end.wait()

    async with open_harness(app=RAW, extra_ports=ON_AMS) as harness:
        await harness.add_machine(AMS, "ams", stay)
        client = await harness.connect(public_port=5432)
        assert await client.read_exactly(5) == b"hello"
        assert harness.router.load.of_machine(AMS) == 1
        end.set()
        assert await client.read_to_end() == b""
        await client.aclose()  # the machine has closed; now the client closes
        await until(lambda: harness.router.load.of_machine(AMS) == 0)
