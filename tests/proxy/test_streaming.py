"""Response streaming: responses reach the client as they arrive, in constant memory."""

from __future__ import annotations

import asyncio
import os

import psutil
import pytest

from simulator.proxy.http.http1 import MAX_CHUNKS_PER_TURN
from tests.proxy.client import request
from tests.proxy.h2_client import H2Client, Stream
from tests.proxy.harness import AMS, Harness, until
from tests.proxy.machine import OK, Handler, MachineWire, responding

EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
DOWNLOAD_BYTES = int(os.environ.get("FLYSIM_DOWNLOAD_MIB", "256")) * 2**20
ALLOWED_GROWTH_BYTES = 48 * 2**20


def memory_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


FRAMINGS = {
    "chunked": b"transfer-encoding: chunked\r\n\r\n",
    "read until close": b"connection: close\r\n\r\n",
    "length": b"content-length: 27\r\n\r\n",
}


def event(framing: str, number: int) -> bytes:
    data = b"data: %d\n\n" % number
    return b"%x\r\n%s\r\n" % (len(data), data) if framing == "chunked" else data


async def send_events(wire: MachineWire, framing: str, proceed: asyncio.Event) -> None:
    """Send three events, each one when `proceed` is set."""
    await wire.read_request()
    await wire.send(EVENT_STREAM + FRAMINGS[framing])
    for number in range(3):
        await proceed.wait()
        proceed.clear()
        await wire.send(event(framing, number))
    await proceed.wait()
    if framing == "chunked":
        await wire.send(b"0\r\n\r\n")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_server_sent_events_arrive_one_by_one(harness: Harness, framing: str, tls: bool) -> None:
    proceed = asyncio.Event()
    await harness.add_machine(AMS, "ams", lambda wire: send_events(wire, framing, proceed))
    client = await harness.connect(tls=tls)
    await client.send(request())
    head = await client.read_head()
    assert head.get("content-type") == "text/event-stream"
    sized = framing == "length"
    assert head.get("transfer-encoding") == (None if sized else "chunked")
    for number in range(3):
        proceed.set()
        expected = b"data: %d\n\n" % number
        if sized:
            assert await client.read_exactly(len(expected)) == expected
        else:
            assert await client.read_chunk() == expected
    proceed.set()
    if not sized:
        assert await client.read_chunk() == b""
    await harness.finished()


@pytest.mark.parametrize("framing", ["chunked", "read until close"])
async def test_server_sent_events_over_http_2(harness: Harness, framing: str) -> None:
    proceed = asyncio.Event()
    await harness.add_machine(AMS, "ams", lambda wire: send_events(wire, framing, proceed))
    client = await harness.connect_h2()
    stream = await client.open()
    expected = b""
    for number in range(3):
        proceed.set()
        expected += b"data: %d\n\n" % number
        await client.wait(lambda expected=expected: bytes(stream.body) == expected)
    proceed.set()
    await client.complete(stream)
    assert stream.ended


async def test_an_http_1_0_client_gets_a_stream_without_chunked_framing(harness: Harness) -> None:
    proceed = asyncio.Event()
    await harness.add_machine(AMS, "ams", lambda wire: send_events(wire, "chunked", proceed))
    client = await harness.connect()
    await client.send(b"GET / HTTP/1.0\r\nhost: streams.fly.dev\r\n\r\n")
    head = await client.read_head()
    assert head.start_line.startswith("HTTP/1.0 200")
    assert head.get("transfer-encoding") is None
    for number in range(3):
        proceed.set()
        assert await client.read_exactly(9) == b"data: %d\n\n" % number
    proceed.set()
    assert await client.is_closed()


async def test_a_late_response_to_a_long_poll_is_relayed(harness: Harness) -> None:
    respond_now = asyncio.Event()

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        await respond_now.wait()
        await wire.send(OK)

    ams = await harness.add_machine(AMS, "ams", handler)
    client = await harness.connect()
    await client.send(request("GET", "/poll"))
    await until(lambda: ams.requests)
    respond_now.set()
    assert (await client.read_response()).body == b"hello"


async def test_the_head_and_the_first_byte_pass_before_the_body_is_complete(harness: Harness) -> None:
    hold = asyncio.Event()

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
        await hold.wait()
        await wire.send(b"1")
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", handler)
    client = await harness.connect()
    await client.send(request())
    assert (await client.read_head()).status == 200
    hold.set()
    assert await client.read_exactly(1) == b"1"


def downloading(size: int) -> Handler:
    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        piece = bytes(2**18)
        for _ in range(size // len(piece)):
            await wire.send(piece)

    return handler


async def test_a_large_download_uses_constant_memory(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", downloading(DOWNLOAD_BYTES))
    client = await harness.connect()
    await client.send(request())
    await client.read_head()
    before, most, received = memory_bytes(), 0, 0
    while received < DOWNLOAD_BYTES:
        received += len(await client.reader.read(2**20))
        most = max(most, memory_bytes())
    assert received == DOWNLOAD_BYTES
    assert most - before < ALLOWED_GROWTH_BYTES


async def test_a_large_download_over_http_2_uses_constant_memory(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", downloading(DOWNLOAD_BYTES))
    client = await harness.connect_h2(window=2**20)
    client.keep_bodies = False
    before, most = memory_bytes(), 0
    stream = await client.open()
    while not stream.ended:
        seen = stream.received
        await client.wait(lambda seen=seen: stream.received > seen or stream.ended)
        most = max(most, memory_bytes())
    assert stream.received == DOWNLOAD_BYTES
    assert most - before < ALLOWED_GROWTH_BYTES


async def read_slowly(client: H2Client, stream: Stream, size: int) -> None:
    while stream.received < size:
        await client.acknowledge(stream)
        await client.wait(lambda: stream.unacknowledged or stream.received == size)


async def test_a_client_with_closed_windows_pauses_the_machine(harness: Harness) -> None:
    """The proxy buffers little for it, and the client gets everything once it reads."""
    size = 32 * 2**20
    await harness.add_machine(AMS, "ams", downloading(size))
    client = await harness.connect_h2(window=2**18)
    client.manual = True
    first, second = await client.open(), await client.open()
    await until(lambda: harness.buffered_responses() >= 2**20)
    await client.wait(lambda: first.received + second.received == 2**18)
    assert harness.buffered_responses() < 3 * 2**20
    await asyncio.gather(read_slowly(client, first, size), read_slowly(client, second, size))
    assert first.received == second.received == size
    assert harness.buffered_responses() == 0


async def test_a_stream_that_is_not_read_does_not_block_the_others(harness: Harness) -> None:
    async def handler(wire: MachineWire) -> None:
        head = await wire.read_request_head()
        await (wire.send(OK) if head.target == "/small" else endless(wire))

    async def endless(wire: MachineWire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await wire.send(bytes(65536))

    ams = await harness.add_machine(AMS, "ams", handler)
    client = await harness.connect_h2(window=2**16)
    client.h2.increment_flow_control_window(2**20)
    await client.flush()
    client.manual = True
    blocked = await client.open()
    await until(lambda: harness.buffered_responses() >= 2**20)
    for _ in range(5):
        assert (await client.fetch(path="/small")).status == 200
    await client.reset(blocked)
    await until(lambda: harness.buffered_responses() == 0)
    await until(lambda: ams.open_connections == 0)


@pytest.mark.parametrize("count", [6, 150])
async def test_many_event_streams_over_one_connection(harness: Harness, count: int) -> None:
    """Neither mitmproxy's limit of five connections to one address nor the usual 100 HTTP/2 streams applies."""
    ams = await harness.add_machine(AMS, "ams", sending_events())
    client = await harness.connect_h2()
    streams = [await client.open(path=f"/{number}") for number in range(count)]
    await client.wait(lambda: all(stream.body for stream in streams))
    assert sorted(bytes(stream.body) for stream in streams) == sorted(
        b"data: /%d\n\n" % number for number in range(count)
    )
    assert ams.open_connections == count


async def test_many_event_streams_over_separate_connections(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", sending_events())

    async def listen(number: int) -> None:
        client = await harness.connect()
        await client.send(request(path=f"/{number}"))
        await client.read_head()
        assert await client.read_chunk() == b"data: /%d\n\n" % number

    await asyncio.gather(*[listen(number) for number in range(100)])


def sending_events() -> Handler:
    async def handler(wire: MachineWire) -> None:
        target = (await wire.read_request_head()).target.encode()
        await wire.send(EVENT_STREAM + b"\r\ndata: %s\n\n" % target)
        await wire.read_to_end()

    return handler


async def test_a_packet_that_ends_with_the_size_of_the_last_chunk_of_a_turn(harness: Harness) -> None:
    """There is no more to read in this turn or the next one: the machine must be read again."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

    async def pause_after_a_size(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(head + b"1\r\nx\r\n" * (MAX_CHUNKS_PER_TURN - 1) + b"5\r\n")
        await asyncio.sleep(0.05)
        await wire.send(b"hello\r\n0\r\n\r\n")
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", pause_after_a_size)
    assert (await (await harness.connect()).fetch()).body == b"x" * (MAX_CHUNKS_PER_TURN - 1) + b"hello"


async def test_a_short_response_reaches_the_client_in_one_write(harness: Harness) -> None:
    """A head and a body that arrive together are sent together: one write, one packet."""
    await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: streams.fly.dev\r\n\r\n")
    assert (await client.reader.read(65536)).endswith(b"\r\n\r\nhello")
