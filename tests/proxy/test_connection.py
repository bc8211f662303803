"""Connections to machines: used again when nothing is left on them, else closed; detached when replayed from."""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy.harness import AMS, DFW, Harness, until
from tests.proxy.machine import OK, MachineWire, answering, replaying

REPLAY = f"HTTP/1.1 307 x\r\nfly-replay: instance={DFW}\r\n".encode()


async def test_one_connection_serves_one_request_after_the_other(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", answering(OK))
    client = await harness.connect()
    for _ in range(20):
        assert (await client.ask()).body == b"hello"
    assert (ams.connections, len(ams.requests)) == (1, 20)


async def test_the_replaying_machines_connection_is_used_again_if_its_rest_was_there(
    harness: Harness,
) -> None:
    ams = await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", answering(OK))
    client = await harness.connect()
    for _ in range(10):
        assert (await client.ask()).body == b"hello"
    assert (ams.connections, dfw.connections) == (1, 1)


@pytest.mark.parametrize(
    "missing", [b"content-length: 3\r\n\r\nab", b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n"]
)
async def test_it_is_closed_if_the_rest_was_not_there(harness: Harness, missing: bytes) -> None:
    ams = await harness.add_machine(AMS, "ams", answering(REPLAY + missing))
    await harness.add_machine(DFW, "dfw", answering(OK))
    client = await harness.connect()
    for count in (1, 2, 3):
        assert (await client.ask()).body == b"hello"
        assert ams.connections == count
        await until(lambda: ams.open_connections == 0)


async def test_a_machine_that_replays_to_itself_gets_it_on_the_same_connection(harness: Harness) -> None:
    async def handler(wire: MachineWire) -> None:
        while True:
            again = (await wire.read_request()).get("fly-replay-src") is not None
            to_self = f"HTTP/1.1 307 x\r\nfly-replay: instance={AMS}\r\ncontent-length: 0\r\n\r\n".encode()
            await wire.send(OK if again else to_self)

    ams = await harness.add_machine(AMS, "ams", handler)
    assert (await (await harness.connect()).ask()).body == b"hello"
    assert (ams.connections, len(ams.requests)) == (1, 2)


async def test_a_connection_that_the_machine_ends_after_its_answer_is_not_used_again(
    harness: Harness,
) -> None:
    ams = await harness.add_machine(
        AMS,
        "ams",
        answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", close=True),
    )
    client = await harness.connect()
    for count in (1, 2, 3):
        assert (await client.ask()).body == b"hi"
        assert ams.connections == count


async def test_connection_close_of_a_machine_does_not_close_the_clients_connection(harness: Harness) -> None:
    """F-4.20: it belongs to one connection."""
    await harness.add_machine(
        AMS,
        "ams",
        answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", close=True),
    )
    answer = await (await harness.connect()).ask()
    assert answer.get("connection") is None


async def test_each_client_connection_has_machine_connections_of_its_own(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", answering(OK))
    for _ in range(3):
        await (await harness.connect()).ask()
    assert ams.connections == 3


async def test_bytes_that_nobody_asked_for_end_the_machines_connection(harness: Harness) -> None:
    """Response smuggling: a second answer to one request must not become the answer to the next."""

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await wire.rest()

    ams = await harness.add_machine(AMS, "ams", handler)
    client = await harness.connect()
    for count in (1, 2):
        assert (await client.ask()).body == b"hello"
        assert ams.connections == count


async def test_a_machine_that_hangs_up_long_after_it_replayed_disturbs_nothing(harness: Harness) -> None:
    """F-1.30: The old connection is detached: neither its rest nor its end has anything to do with the exchange."""
    hang_up: list[MachineWire] = []
    done = asyncio.Event()

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        hang_up.append(wire)
        await wire.send(REPLAY + b"content-length: 50\r\n\r\nnot all of it")
        await done.wait()

    async def slow(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
        hang_up[0].writer.write(b"late bytes")
        hang_up[0].reset()
        done.set()
        await until(lambda: ams.open_connections == 0)
        await wire.send(b"llo")

    ams = await harness.add_machine(AMS, "ams", handler)
    await harness.add_machine(DFW, "dfw", slow)
    assert (await (await harness.connect()).ask()).body == b"hello"
    (trace,) = await harness.finished()
    assert trace.outcome == "relayed"


async def test_an_idle_connection_that_the_machine_closes_is_forgotten(harness: Harness) -> None:
    async def once(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(OK)

    ams = await harness.add_machine(AMS, "ams", once)
    client = await harness.connect()
    for count in (1, 2, 3):
        assert (await client.ask()).body == b"hello"
        await until(lambda: harness.remembered()["machine connections"] == 0)
        assert ams.connections == count
