"""Turns between clients: how much data of one client and its machines is processed per turn of the event loop."""

from __future__ import annotations

import asyncio

from simulator.proxy.transport.flow_control import MAX_READS_PER_TURN, READ_BYTES, Turns
from tests.proxy.harness import AMS, Harness, until
from tests.proxy.machine import MachineWire


async def count_turns() -> list[int]:
    """Let 50 tasks wait for their turn. Returns how many of them have had it after each turn of the loop."""
    turns, done = Turns(), 0
    counts: list[int] = []

    async def work() -> None:
        nonlocal done
        await turns.wait()
        done += 1

    tasks = [asyncio.ensure_future(work()) for _ in range(50)]
    while done < 50:
        await asyncio.sleep(0)
        counts.append(done)
    await asyncio.gather(*tasks)
    return counts


async def test_a_number_of_reads_is_admitted_per_turn() -> None:
    counts = await count_turns()
    steps = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    assert max(steps) <= MAX_READS_PER_TURN
    assert counts[-1] == 50


async def test_a_canceled_read_does_not_use_up_a_turn() -> None:
    turns = Turns()
    waiting = [asyncio.ensure_future(turns.wait()) for _ in range(2 * MAX_READS_PER_TURN + 1)]
    await asyncio.sleep(0)
    for task in waiting[MAX_READS_PER_TURN:-1]:
        task.cancel()
    await waiting[-1]
    await turns.wait()


async def test_little_is_received_for_a_machine_that_does_not_read(harness: Harness) -> None:
    release = asyncio.Event()

    async def not_reading(wire: MachineWire) -> None:
        wire.pause()
        await release.wait()
        wire.resume()
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", not_reading)
    client = await harness.connect()
    client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n" + bytes(30_000_000))
    await until(lambda: _reader(harness)._paused)
    assert len(_reader(harness)._buffer) <= 2 * READ_BYTES
    client.reset()
    release.set()


def _reader(harness: Harness):  # type: ignore[no-untyped-def] # private attributes of asyncio's StreamReader
    (handler,) = harness.server._clients.values()
    assert handler is not None
    return handler.transports[handler.client].reader
