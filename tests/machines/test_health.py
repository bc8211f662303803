"""Health checks, F-5.17 to F-5.23, against listeners on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from simulator.clock import Clock
from simulator.config.model import Check
from simulator.machines.backend import Placement
from simulator.machines.health import HealthMonitor, find_failure
from simulator.testing import eventually

HTTP = Check("http", path="/healthz")
TCP = Check("tcp")


@dataclass
class Listener:
    """Sends `response` for every request, or nothing if it is None; records the requests."""

    response: bytes | None = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    server: asyncio.Server | None = None

    async def listen(self, port: int = 0) -> Placement:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", port)
        return Placement(*self.server.sockets[0].getsockname(), private_ip="")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.response is None:
                await reader.read()
            else:
                writer.write(self.response)
                await writer.drain()
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    yield listener
    if listener.server is not None:
        listener.server.close()


async def unused_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@pytest.mark.parametrize("status", [200, 204, 299])
async def test_a_check_passes_on_2xx(listener: Listener, status: int) -> None:
    """X-9, F-5.19"""
    listener.response = f"HTTP/1.1 {status} Fine\r\n\r\n".encode()

    assert await find_failure(HTTP, await listener.listen()) is None


@pytest.mark.parametrize("status", [199, 301, 307, 404, 500])
async def test_a_check_fails_on_anything_else_and_follows_no_redirect(
    listener: Listener, status: int
) -> None:
    """X-9, F-5.19; failure 20 of the gallery: an app that replays or redirects its check is unhealthy."""
    listener.response = (
        f"HTTP/1.1 {status} Other\r\nlocation: /\r\nfly-replay: elsewhere=true\r\n\r\n".encode()
    )

    failure = await find_failure(HTTP, await listener.listen())

    assert str(failure) == f"GET /healthz returned {status}, expected 2xx"
    assert len(listener.requests) == 1


async def test_a_check_sends_the_configured_request(listener: Listener) -> None:
    """F-5.22: method, path, headers."""
    placement = await listener.listen()
    check = Check(
        "http", path="/up?full=1", method="head", headers=(("Host", "chat.example"), ("X-Check", "1"))
    )

    await find_failure(check, placement)

    request = listener.requests[0].split("\r\n")
    assert request[0] == "HEAD /up?full=1 HTTP/1.1"
    assert "Host: chat.example" in request
    assert "X-Check: 1" in request
    assert len([line for line in request if line.lower().startswith("host:")]) == 1


async def test_a_check_sends_the_address_of_the_machine_as_host(listener: Listener) -> None:
    placement = await listener.listen()

    await find_failure(HTTP, placement)

    assert f"Host: {placement.address}" in listener.requests[0]


async def test_a_tcp_check_passes_once_it_connects(listener: Listener) -> None:
    """F-5.20"""
    assert await find_failure(TCP, await listener.listen()) is None


@pytest.mark.parametrize("check", [TCP, HTTP])
async def test_a_check_fails_when_nothing_listens(check: Check) -> None:
    port = await unused_port()

    assert (
        str(await find_failure(check, Placement("127.0.0.1", port, "")))
        == f"nothing listens on 127.0.0.1:{port}"
    )


async def test_a_check_of_another_port_connects_to_that_port(listener: Listener) -> None:
    port = (await listener.listen()).port
    check = Check("http", port=port)

    assert await find_failure(check, Placement("127.0.0.1", await unused_port(), "")) is None


async def test_a_check_without_a_response_fails_after_its_timeout(listener: Listener) -> None:
    listener.response = None

    failure = await find_failure(Check("http", timeout_seconds=0.05), await listener.listen())

    assert str(failure) == "no response to GET / within 0.05 s"


@pytest.mark.parametrize(
    "response", [b"", b"\r\n", b"220 mail ready\r\n", b"HTTP/1.1 fine\r\n", b"x" * 100_000]
)
async def test_a_response_that_is_not_http_fails(listener: Listener, response: bytes) -> None:
    listener.response = response

    assert (
        str(await find_failure(HTTP, await listener.listen())) == "the response to GET /healthz is not HTTP"
    )


async def test_a_machine_that_resets_every_connection_fails_its_check() -> None:
    """It resets each connection at once, often before the check knows that it is connected."""
    with socket.create_server(("127.0.0.1", 0), backlog=300) as listener:
        resetting = threading.Thread(target=_reset_all, args=(listener,), daemon=True)
        resetting.start()
        there = Placement(*listener.getsockname(), private_ip="")
        failures = [await find_failure(HTTP, there) for _ in range(200)]
        listener.shutdown(socket.SHUT_RDWR)
        resetting.join()

    assert {str(failure) for failure in failures} <= {
        "the response to GET /healthz is not HTTP",
        f"nothing listens on {there.address}",
    }


def _reset_all(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):  # The listener is shut down.
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


async def test_a_response_without_an_end_passes_by_its_head(listener: Listener) -> None:
    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nevent: 1\n\n")
        await reader.read()
        writer.close()

    listener.serve = stream  # type: ignore[method-assign]

    assert await asyncio.wait_for(find_failure(HTTP, await listener.listen()), 2) is None


@dataclass
class Monitored:
    """A running monitor, and its reports."""

    clock: Clock = field(default_factory=Clock)
    reports: list[tuple[bool, str]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def watch(self, placement: Placement, *checks: Check) -> AsyncIterator[asyncio.Task[None]]:
        monitor = HealthMonitor(placement, checks, self.clock, lambda *report: self.reports.append(report))
        task = asyncio.create_task(monitor.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_machine_without_checks_is_healthy_once_it_listens_and_is_not_checked_again(
    listener: Listener,
) -> None:
    """F-5.23"""
    monitored = Monitored()
    async with monitored.watch(await listener.listen()) as task:
        await asyncio.wait_for(task, 5)

    assert monitored.reports == [(True, "")]
    assert listener.connections == 1


async def test_a_start_is_detected_soon_after_the_machine_listens(listener: Listener) -> None:
    monitored, port = Monitored(), await unused_port()
    async with monitored.watch(Placement("127.0.0.1", port, ""), Check("http", interval_seconds=60)):
        await listener.listen(port)
        await eventually(lambda: bool(monitored.reports), "the first pass", within_seconds=0.5)

    assert monitored.reports == [(True, "")]
    assert len(listener.requests) == 1


async def test_a_check_is_repeated_at_its_interval_on_the_simulated_clock(listener: Listener) -> None:
    """F-5.17, F-5.18: the health follows the checks, and nothing else happens."""
    monitored = Monitored()
    async with monitored.watch(await listener.listen(), Check("http", path="/up", interval_seconds=3600)):
        await eventually(lambda: len(monitored.reports) == 1, "the first pass")
        listener.response = b"HTTP/1.1 503 Busy\r\n\r\n"
        monitored.clock.advance(3600)
        await eventually(lambda: len(monitored.reports) == 2, "the failure")
        listener.response = b"HTTP/1.1 200 OK\r\n\r\n"
        monitored.clock.advance(3600)
        await eventually(lambda: len(monitored.reports) == 3, "the recovery")

    assert monitored.reports == [(True, ""), (False, "GET /up returned 503, expected 2xx"), (True, "")]
    assert len(listener.requests) == 3


async def test_a_clock_reset_does_not_delay_the_next_check(listener: Listener) -> None:
    """The simulated clock is reset between scenarios: an earlier advance must not delay the next check."""
    monitored = Monitored()
    monitored.clock.advance(86_400)
    async with monitored.watch(await listener.listen(), Check("http", interval_seconds=0.5)):
        await eventually(lambda: len(monitored.reports) == 1, "the first pass")
        monitored.clock.reset()
        await eventually(lambda: len(listener.requests) >= 3, "two more checks")


async def test_all_checks_must_pass(listener: Listener) -> None:
    listener.response = b"HTTP/1.1 404 Not Found\r\n\r\n"
    monitored = Monitored()
    async with monitored.watch(await listener.listen(), TCP, HTTP):
        await eventually(lambda: len(listener.requests) >= 2, "two attempts of the second check")

    assert monitored.reports == []
