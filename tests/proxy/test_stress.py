"""Stress test: under load, no replay is lost when its connection closes in the same packet.

`FLYSIM_STRESS=30000` runs more requests than the default.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.proxy import websocket as ws
from tests.proxy.harness import AMS, DFW, Harness, open_harness
from tests.proxy.machine import OK, MachineWire, responding

TRIES = int(os.environ.get("FLYSIM_STRESS", "1200"))
CLIENTS = 30
HELLO = ws.frame(ws.TEXT, b"hello from dallas")


@asynccontextmanager
async def early_close_machine(harness: Harness) -> AsyncIterator[None]:
    """Run a machine in a separate process, so that the timing of its packets varies."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("early_close_machine.py")),
        f"instance={DFW}",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    ams.fleet_entry = replace(ams.fleet_entry, port=port)
    harness.router.fleet = harness.router.fleet.with_machine(ams.fleet_entry)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def greet(wire: MachineWire) -> None:
    """The target: accepts an upgrade and sends one frame, responds with 200 to other requests."""
    while True:
        request = await wire.read_request_head()
        if request.get("upgrade") is None:
            await wire.discard_body(request)
            await wire.send(OK)
        else:
            await wire.send(ws.accept() + HELLO)
            await wire.read_to_end()
            return


async def open_websockets(harness: Harness, shapes: list[str], tries: int) -> None:
    """Send one handshake after the other, each on a new connection."""
    for number in range(tries):
        client = await harness.connect()
        await client.send(ws.upgrade(f"/{shapes[number % len(shapes)]}"))
        assert (await client.read_head()).status == 101
        assert await client.read_exactly(len(HELLO)) == HELLO
        client.close()
        harness.clients.remove(client)


async def get_pages(harness: Harness, shapes: list[str], tries: int) -> None:
    """Send one request after the other, on one connection."""
    client = await harness.connect()
    for number in range(tries):
        response = await client.fetch(path=f"/{shapes[number % len(shapes)]}")
        assert (response.status, response.body) == (200, b"hello")


async def send_forms(harness: Harness, shapes: list[str], tries: int) -> None:
    """Like `get_pages`, with a body that the machine does not read, so that it resets the connection."""
    client = await harness.connect()
    for number in range(tries):
        shape, size = shapes[number % len(shapes)], (10, 10_000, 200_000)[number % 5 % 3]
        response = await client.fetch("POST", f"/{shape}", body=bytes(size))
        assert (response.status, response.body) == (200, b"hello"), f"{shape}, {size} bytes"


@pytest.mark.timeout(60 + TRIES // 50)
async def test_no_replay_is_lost_if_the_machine_closes_at_once() -> None:
    async with open_harness(deadline_seconds=60 + TRIES // 50) as harness, early_close_machine(harness):
        await harness.add_machine(DFW, "dfw", greet)
        each = TRIES // CLIENTS
        pages = ["empty", "until-close", "cut-off"]
        await asyncio.gather(
            *[open_websockets(harness, ["bare", "full", "frames"], each) for _ in range(CLIENTS // 3)],
            *[get_pages(harness, pages, each) for _ in range(CLIENTS // 3)],
            *[send_forms(harness, pages, each) for _ in range(CLIENTS // 3)],
        )
        await harness.finished(each * CLIENTS)
        assert harness.proxy_log() == []
