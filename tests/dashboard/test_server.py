"""The server of the control API: its port, its shutdown, and its page."""

from __future__ import annotations

import asyncio
import signal
import socket
import time

import httpx
import pytest

from simulator.dashboard import ControlServer, make_app
from simulator.errors import EnvironmentFault
from tests.dashboard.harness import FakeSimulator, Harness, open_harness, until, until_open


async def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        with pytest.raises(EnvironmentFault, match=rf"port {port} on 127\.0\.0\.1 is in use") as caught:
            await ControlServer(make_app(FakeSimulator()), port=port).start()

    assert caught.value.hint is not None
    assert "[control]" in caught.value.hint


async def test_an_address_of_another_computer_is_an_error_with_a_hint() -> None:
    """192.0.2.1 is reserved for documentation (RFC 5737)."""
    server = ControlServer(make_app(FakeSimulator()), ["127.0.0.1", "192.0.2.1"])
    with pytest.raises(
        EnvironmentFault, match=r"cannot listen on 192\.0\.2\.1:\d+: .*\n  hint: .*--control-listen"
    ):
        await server.start()


async def test_the_port_is_free_after_stop() -> None:
    async with open_harness() as harness:
        await harness.client.get("/_flysim/ready")
        port = harness.port
        await harness.stop()

        second = ControlServer(make_app(FakeSimulator()), port=port)
        assert await second.start() == port
        await second.stop()


async def test_it_stops_at_once_with_open_streams_and_hanging_requests(harness: Harness) -> None:
    simulator = harness.simulator
    simulator.resets = 1  # the next reset hangs
    hanging = asyncio.create_task(harness.client.post("/_flysim/reset"))
    waiting = asyncio.create_task(
        harness.client.get("/v1/apps/chat/machines/286533db064e58/wait?state=stopped")
    )
    async with (
        harness.client.stream("GET", "/_flysim/events") as response,
        harness.client.stream("GET", "/_flysim/logs", params={"follow": "1"}),
    ):
        await until_open(harness.streams, 3)
        await until(lambda: simulator.resets == 2)

        started = time.monotonic()
        await harness.stop()
        assert time.monotonic() - started < 0.5

        assert [line async for line in response.aiter_lines() if line.startswith("event")] == []
    with pytest.raises(httpx.TransportError):
        await hanging
    assert (await waiting).status_code == 503


async def test_a_client_that_never_reads_does_not_delay_stop() -> None:
    async with open_harness(max_queued=100_000) as harness:
        with socket.socket() as idle:
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            idle.connect(("127.0.0.1", harness.port))
            idle.sendall(b"GET /_flysim/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until_open(harness.streams, 1)
            for _ in range(1_000):
                harness.simulator.log("286533db064e58", "x" * 10_000)
            await harness.client.get("/_flysim/ready")

            started = time.monotonic()
            await harness.stop()
            assert time.monotonic() - started < 0.5


async def test_stopping_twice_or_before_the_start_is_not_an_error() -> None:
    server = ControlServer(make_app(FakeSimulator()))
    await server.stop()
    await server.start()
    await server.stop()
    await server.stop()


async def test_signal_handlers_are_unchanged() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async with open_harness() as harness:
        assert (await harness.client.get("/_flysim/ready")).status_code == 200
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_the_page_loads_nothing_from_other_origins(harness: Harness) -> None:
    response = await harness.client.get("/")

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert 'new EventSource("/_flysim/events")' in response.text
    for foreign in ("http://", "https://", "innerHTML"):
        assert foreign not in response.text
