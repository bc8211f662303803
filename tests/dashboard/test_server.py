"""The control API's own life: its port, its end, and the page that it serves."""

from __future__ import annotations

import asyncio
import signal
import socket
import time

import httpx
import pytest

from simulator.dashboard import ControlServer, make_app
from simulator.errors import EnvironmentFault
from tests.dashboard.harness import Harness, SmallSimulator, open_harness, until, until_open


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        with pytest.raises(EnvironmentFault, match=f"port {port} of the control API is taken") as caught:
            await ControlServer(make_app(SmallSimulator()), port=port).start()

    assert caught.value.hint is not None
    assert "[control]" in caught.value.hint


async def test_the_port_is_free_again_once_it_has_stopped() -> None:
    async with open_harness() as harness:
        await harness.client.get("/_flysim/ready")
        port = harness.port
        await harness.stop()

        again = ControlServer(make_app(SmallSimulator()), port=port)
        assert await again.start() == port
        await again.stop()


async def test_it_stops_at_once_though_streams_are_open_and_requests_hang(harness: Harness) -> None:
    simulator = harness.simulator
    simulator.resets = 1  # the next reset hangs
    hanging = asyncio.create_task(harness.client.post("/_flysim/reset"))
    waiting = asyncio.create_task(
        harness.client.get("/v1/apps/chat/machines/286533db064e58/wait?state=stopped")
    )
    async with (
        harness.client.stream("GET", "/_flysim/events") as answer,
        harness.client.stream("GET", "/_flysim/logs", params={"follow": "1"}),
    ):
        await until_open(harness.streams, 3)
        await until(lambda: simulator.resets == 2)

        begun = time.monotonic()
        await harness.stop()
        assert time.monotonic() - begun < 0.5

        assert [line async for line in answer.aiter_lines() if line.startswith("event")] == []
    with pytest.raises(httpx.TransportError):
        await hanging
    assert (await waiting).status_code == 503


async def test_a_client_that_never_reads_does_not_hold_up_the_end() -> None:
    async with open_harness(max_waiting=100_000) as harness:
        with socket.socket() as idle:
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            idle.connect(("127.0.0.1", harness.port))
            idle.sendall(b"GET /_flysim/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until_open(harness.streams, 1)
            for _ in range(1_000):
                harness.simulator.log("286533db064e58", "x" * 10_000)
            await harness.client.get("/_flysim/ready")

            begun = time.monotonic()
            await harness.stop()
            assert time.monotonic() - begun < 0.5


async def test_stopping_twice_or_before_the_start_is_no_error() -> None:
    server = ControlServer(make_app(SmallSimulator()))
    await server.stop()
    await server.start()
    await server.stop()
    await server.stop()


async def test_signals_stay_with_whoever_had_them() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async with open_harness() as harness:
        assert (await harness.client.get("/_flysim/ready")).status_code == 200
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_the_page_is_served_and_lets_nothing_foreign_in(harness: Harness) -> None:
    answer = await harness.client.get("/")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert 'new EventSource("/_flysim/events")' in answer.text
    for foreign in ("http://", "https://", "innerHTML"):
        assert foreign not in answer.text
