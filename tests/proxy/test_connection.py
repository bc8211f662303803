"""Connections to machines: reused when idle, closed otherwise, and detached after a replay."""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy.harness import AMS, DFW, Harness, until
from tests.proxy.machine import OK, MachineWire, replaying, responding

REPLAY = f"HTTP/1.1 307 x\r\nfly-replay: instance={DFW}\r\n".encode()


async def test_one_connection_serves_successive_requests(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    for _ in range(20):
        assert (await client.fetch()).body == b"hello"
    assert (ams.connections, len(ams.requests)) == (1, 20)


async def test_a_replaying_machines_connection_is_reused_if_its_response_is_complete(
    harness: Harness,
) -> None:
    ams = await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    for _ in range(10):
        assert (await client.fetch()).body == b"hello"
    assert (ams.connections, dfw.connections) == (1, 1)


@pytest.mark.parametrize(
    "missing", [b"content-length: 3\r\n\r\nab", b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n"]
)
async def test_a_replaying_machines_connection_is_closed_if_its_response_is_incomplete(
    harness: Harness, missing: bytes
) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(REPLAY + missing))
    await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    for count in (1, 2, 3):
        assert (await client.fetch()).body == b"hello"
        assert ams.connections == count
        await until(lambda: ams.open_connections == 0)


async def test_a_machine_that_replays_to_itself_gets_the_request_on_the_same_connection(
    harness: Harness,
) -> None:
    async def handler(wire: MachineWire) -> None:
        while True:
            again = (await wire.read_request()).get("fly-replay-src") is not None
            to_self = f"HTTP/1.1 307 x\r\nfly-replay: instance={AMS}\r\ncontent-length: 0\r\n\r\n".encode()
            await wire.send(OK if again else to_self)

    ams = await harness.add_machine(AMS, "ams", handler)
    assert (await (await harness.connect()).fetch()).body == b"hello"
    assert (ams.connections, len(ams.requests)) == (1, 2)


async def test_a_connection_that_the_machine_closes_after_its_response_is_not_reused(
    harness: Harness,
) -> None:
    ams = await harness.add_machine(
        AMS,
        "ams",
        responding(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", close=True),
    )
    client = await harness.connect()
    for count in (1, 2, 3):
        assert (await client.fetch()).body == b"hi"
        assert ams.connections == count


async def test_connection_close_from_a_machine_does_not_close_the_clients_connection(
    harness: Harness,
) -> None:
    """F-4.20: it is a hop-by-hop header."""
    await harness.add_machine(
        AMS,
        "ams",
        responding(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", close=True),
    )
    response = await (await harness.connect()).fetch()
    assert response.get("connection") is None


async def test_client_connections_do_not_share_machine_connections(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    for _ in range(3):
        await (await harness.connect()).fetch()
    assert ams.connections == 3


async def test_unsolicited_bytes_close_the_machines_connection(harness: Harness) -> None:
    """Response smuggling: a second response to one request must not become the response to the next one."""

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await wire.read_to_end()

    ams = await harness.add_machine(AMS, "ams", handler)
    client = await harness.connect()
    for count in (1, 2):
        assert (await client.fetch()).body == b"hello"
        assert ams.connections == count


async def test_a_machine_that_closes_long_after_its_replay_does_not_affect_the_exchange(
    harness: Harness,
) -> None:
    """F-1.30: the old connection is detached. Neither its remaining data nor its close affects the exchange."""
    replaying_wires: list[MachineWire] = []
    done = asyncio.Event()

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        replaying_wires.append(wire)
        await wire.send(REPLAY + b"content-length: 50\r\n\r\nnot all of it")
        await done.wait()

    async def slow(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
        replaying_wires[0].writer.write(b"late bytes")
        replaying_wires[0].reset()
        done.set()
        await until(lambda: ams.open_connections == 0)
        await wire.send(b"llo")

    ams = await harness.add_machine(AMS, "ams", handler)
    await harness.add_machine(DFW, "dfw", slow)
    assert (await (await harness.connect()).fetch()).body == b"hello"
    (trace,) = await harness.finished()
    assert trace.outcome == "relayed"


async def test_an_idle_connection_that_the_machine_closes_is_removed_from_the_pool(harness: Harness) -> None:
    async def once(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(OK)

    ams = await harness.add_machine(AMS, "ams", once)
    client = await harness.connect()
    for count in (1, 2, 3):
        assert (await client.fetch()).body == b"hello"
        await until(lambda: harness.resource_counts()["machine connections"] == 0)
        assert ams.connections == count
