"""Open WebSockets: unchanged bytes, separate flow control per direction, and closing by either side."""

from __future__ import annotations

import asyncio
import random
import zlib

import pytest

from tests.proxy import websocket as ws
from tests.proxy.harness import AMS, DFW, Harness, until
from tests.proxy.machine import MachineWire, accepting, echoing


def random_frames(seed: int, *, mask: bytes) -> bytes:
    """Frames of every kind: fragments with control frames between them, compression, sizes at every limit."""
    rng = random.Random(seed)
    deflate = zlib.compressobj(wbits=-15)
    compressed = deflate.compress(b"compressed " * 50) + deflate.flush(zlib.Z_SYNC_FLUSH)
    sizes = (0, 1, 125, 126, 127, 65535, 65536, 70000)
    frames = [ws.frame(ws.BINARY, rng.randbytes(size), mask=mask) for size in sizes]
    frames += [
        ws.frame(ws.TEXT, "grüße".encode(), mask=mask),
        ws.frame(ws.TEXT, b"one ", fin=False, mask=mask)
        + ws.frame(ws.PING, b"between", mask=mask)
        + ws.frame(ws.CONTINUATION, b"two ", fin=False, mask=mask)
        + ws.frame(ws.PONG, b"", mask=mask)
        + ws.frame(ws.CONTINUATION, b"three", mask=mask),
        ws.frame(ws.TEXT, compressed[:-4], flags=ws.COMPRESSED, mask=mask),
        ws.frame(ws.BINARY, b"", fin=False, mask=mask) + ws.frame(ws.CONTINUATION, b"", mask=mask),
    ]
    rng.shuffle(frames)
    return b"".join(frames)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_frames_pass_both_ways_byte_for_byte(harness: Harness, tls: bool) -> None:
    """F-1.95"""
    from_machine, from_client = random_frames(1, mask=b""), random_frames(2, mask=ws.MASK)
    arrived: list[bytes] = []

    async def talk(wire: MachineWire) -> None:
        wire.writer.write(from_machine)
        arrived.append(await wire.read_exactly(len(from_client)))
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", accepting(talk))
    client, _ = await harness.open_websocket(tls=tls)
    await client.send(from_client)
    assert await client.read_exactly(len(from_machine)) == from_machine
    await until(lambda: arrived)
    assert arrived == [from_client]


CLOSES = {
    "with a code": (ws.close(4001, "see you"), 4001),
    "normal": (ws.close(1000), 1000),
    "without a code": (b"", 1005),
}


@pytest.mark.parametrize("case", CLOSES)
async def test_the_machine_closes_with_its_code(harness: Harness, case: str) -> None:
    payload, code = CLOSES[case]
    echoed: list[bytes] = []

    async def close_websockets(wire: MachineWire) -> None:
        await wire.send(ws.frame(ws.CLOSE, payload))
        echoed.append(await wire.read_exactly(len(ws.masked(ws.CLOSE, payload))))

    await harness.add_machine(AMS, "ams", accepting(close_websockets))
    client, _ = await harness.open_websocket()
    close_frame = ws.frame(ws.CLOSE, payload)
    assert await client.read_exactly(len(close_frame)) == close_frame
    await client.send(ws.masked(ws.CLOSE, payload))
    assert await client.is_closed()
    assert echoed == [ws.masked(ws.CLOSE, payload)]
    (trace,) = await harness.finished()
    assert (trace.close_code, trace.outcome, trace.status) == (code, "relayed", 101)


@pytest.mark.parametrize("case", CLOSES)
async def test_the_client_closes_with_its_code(harness: Harness, case: str) -> None:
    payload, code = CLOSES[case]

    async def answer_close(wire: MachineWire) -> None:
        close_frame = ws.masked(ws.CLOSE, payload)
        assert await wire.read_exactly(len(close_frame)) == close_frame
        await wire.send(ws.frame(ws.CLOSE, payload))

    await harness.add_machine(AMS, "ams", accepting(answer_close))
    client, _ = await harness.open_websocket()
    await client.send(ws.masked(ws.CLOSE, payload))
    assert await client.read_to_end() == ws.frame(ws.CLOSE, payload)
    (trace,) = await harness.finished()
    assert (trace.close_code, trace.outcome) == (code, "relayed")


@pytest.mark.parametrize("method", ["close", "reset"])
async def test_a_machine_that_crashes_closes_the_clients_websocket_at_once(
    harness: Harness, method: str
) -> None:
    async def crash(wire: MachineWire) -> None:
        await wire.read_some()
        getattr(wire, method)()

    await harness.add_machine(AMS, "ams", accepting(crash))
    client, _ = await harness.open_websocket()
    await client.send(ws.masked(ws.TEXT, b"die"))
    assert await client.is_closed()
    (trace,) = await harness.finished()
    assert trace.close_code is None


@pytest.mark.parametrize("method", ["close", "reset"])
async def test_a_client_that_crashes_closes_the_machines_websocket_at_once(
    harness: Harness, method: str
) -> None:
    ams = await harness.add_machine(AMS, "ams", accepting())
    client, _ = await harness.open_websocket()
    getattr(client, method)()
    await until(lambda: ams.open_connections == 0)
    await harness.finished()


async def test_data_sent_by_a_machine_before_it_closes_arrives(harness: Harness) -> None:
    """More data than fits into any buffer, closed right after it."""
    data = ws.frame(ws.BINARY, random.Random(3).randbytes(5 * 2**20))

    async def burst(wire: MachineWire) -> None:
        wire.writer.write(data)

    await harness.add_machine(AMS, "ams", accepting(burst))
    client, _ = await harness.open_websocket()
    assert await client.read_to_end() == data


async def test_data_sent_by_a_client_before_it_closes_arrives(harness: Harness) -> None:
    data = ws.masked(ws.BINARY, random.Random(4).randbytes(2**20))
    arrived: list[bytes] = []

    async def listen(wire: MachineWire) -> None:
        arrived.append(await wire.read_to_end())

    await harness.add_machine(AMS, "ams", accepting(listen))
    client, _ = await harness.open_websocket()
    client.writer.write(data)
    client.close()
    await until(lambda: arrived)
    assert arrived == [data]


async def test_a_machine_that_stops_with_frames_in_flight_both_ways(harness: Harness) -> None:
    async def chatter(wire: MachineWire) -> None:
        while True:
            await wire.send(ws.frame(ws.BINARY, bytes(60_000)))

    ams = await harness.add_machine(AMS, "ams", accepting(chatter))
    client, _ = await harness.open_websocket()
    for _ in range(20):
        client.writer.write(ws.masked(ws.BINARY, bytes(60_000)))
    await client.read_exactly(500_000)
    await ams.stop()
    assert len(await client.read_to_end()) > 0
    (trace,) = await harness.finished()
    assert trace.outcome == "relayed"


async def test_a_client_that_does_not_read_can_still_send(harness: Harness) -> None:
    """Each direction waits only for its own reader."""
    received: list[bytes] = []
    message = ws.masked(ws.TEXT, b"stop it")

    async def flood(wire: MachineWire) -> None:
        wire.writer.write(ws.frame(ws.BINARY, bytes(2**25)))
        while True:
            received.append(await wire.read_exactly(len(message)))

    await harness.add_machine(AMS, "ams", accepting(flood))
    client, _ = await harness.open_websocket()
    client.pause()
    await until(lambda: harness.unsent_to_clients() > 65536)
    for count in (1, 2, 3):
        await client.send(message)
        await until(lambda count=count: len(received) == count)
    client.resume()
    assert received == [message] * 3


async def test_several_websockets_on_several_machines_do_not_mix(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", echoing())
    await harness.add_machine(DFW, "dfw", echoing())

    async def converse(number: int) -> None:
        client, handshake = await harness.open_websocket(edge=("ams", "dfw")[number % 2])
        assert handshake.status == 101
        for turn in range(10):
            message = ws.masked(ws.TEXT, f"{number}: {turn}".encode())
            await client.send(message)
            assert await client.read_exactly(len(message)) == message

    await asyncio.gather(*[converse(number) for number in range(40)])
    assert [len(machine.requests) for machine in harness.machines] == [20, 20]
