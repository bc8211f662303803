"""Memory usage of the proxy, in a process of its own: it does not grow with the number of requests and messages."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from simulator.journal import MAX_TRACES
from tests.proxy import websocket as ws
from tests.proxy.client import Client, request
from tests.proxy.h2_client import H2Client
from tests.proxy.machine import OK, Handler, MachineWire, ScriptedMachine, echoing, responding

REQUESTS = 20_000
MESSAGES = 100_000
ALLOWED_BYTES = 10 * 2**20
BATCH = 200
DEADLINE_SECONDS = 90

pytestmark = [pytest.mark.slow, pytest.mark.timeout(DEADLINE_SECONDS)]


class Probe:
    """The process that runs the proxy."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    @property
    def output(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None
        return self._process.stdout

    async def memory_bytes(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return int(await self.output.readline())

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=2**20))

    async def connect_h2(self) -> H2Client:
        streams = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        client = H2Client(*streams, window=2**24)
        await client.start()
        return client


@asynccontextmanager
async def probing(handler: Handler) -> AsyncIterator[Probe]:
    machine = ScriptedMachine(handler)
    port = await machine.listen()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("memory_probe.py")),
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert process.stdout is not None
        yield Probe(process, int(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()
        await machine.stop()


async def growth_bytes(probe: Probe, work: Callable[[int], Awaitable[None]], warm_up: int, total: int) -> int:
    """The growth of the proxy's memory, in bytes, after `total` units of work, once caches and the journal are full."""
    await work(warm_up)
    before = await probe.memory_bytes()
    await work(total)
    growth = await probe.memory_bytes() - before
    print(f"grew by {growth / 2**20:.2f} MiB")  # noqa: T201 - a failed test shows it
    return growth


async def test_20_000_requests_over_one_connection() -> None:
    async with probing(responding(OK)) as probe:
        client = await probe.connect()

        async def work(count: int) -> None:
            for _ in range(count // BATCH):
                client.writer.write(request() * BATCH)
                for _ in range(BATCH):
                    assert (await client.read_response()).body == b"hello"

        assert await growth_bytes(probe, work, 2 * MAX_TRACES, REQUESTS) < ALLOWED_BYTES
        client.close()


async def test_20_000_requests_over_one_http_2_connection() -> None:
    async with probing(responding(OK)) as probe:
        client = await probe.connect_h2()

        async def work(count: int) -> None:
            for _ in range(count // BATCH):
                streams = [await client.open() for _ in range(BATCH)]
                for stream in streams:
                    await client.complete(stream)
                client.streams.clear()

        assert await growth_bytes(probe, work, 2 * MAX_TRACES, REQUESTS // 4) < ALLOWED_BYTES
        await client.aclose()


async def test_100_000_websocket_messages_through_one_connection() -> None:
    async with probing(echoing()) as probe:
        client = await probe.connect()
        await client.send(ws.upgrade())
        await client.read_head()
        message = ws.masked(ws.TEXT, b"x" * 100)

        async def work(count: int) -> None:
            for _ in range(count // BATCH):
                client.writer.write(message * BATCH)
                assert await client.read_exactly(len(message) * BATCH) == message * BATCH

        assert await growth_bytes(probe, work, 2000, MESSAGES) < ALLOWED_BYTES
        client.close()


async def test_100_000_websocket_messages_one_at_a_time() -> None:
    """Each message is a packet of its own, as in a chat."""
    done = asyncio.Event()

    async def counting(wire: MachineWire) -> None:
        head = await wire.read_request_head()
        await wire.send(ws.accept(head.get("sec-websocket-key") or ""))
        received = 0
        while data := await wire.reader.read(2**16):
            received += len(data)
            if received >= expected:
                done.set()

    async with probing(counting) as probe:
        client = await probe.connect()
        await client.send(ws.upgrade())
        await client.read_head()
        message = ws.masked(ws.TEXT, b"x" * 20)
        expected = 0

        async def work(count: int) -> None:
            nonlocal expected
            done.clear()
            expected += count * len(message)
            for _ in range(count):
                client.writer.write(message)
                await client.writer.drain()
                await asyncio.sleep(0)
            await done.wait()

        assert await growth_bytes(probe, work, 1000, MESSAGES // 4) < ALLOWED_BYTES
        client.close()
