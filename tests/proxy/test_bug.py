"""A bug in flysim: its client gets a 502 or a closed connection, others notice nothing, and it is reported once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from h2.errors import ErrorCodes
from mitmproxy import dns
from mitmproxy.net.dns import response_codes

from simulator.network_conditions import NetworkConditions
from simulator.proxy.dns_listener import DnsListener
from simulator.proxy.name_server import NameServer
from simulator.report.hop_ladder import ladder
from simulator.routing import Exchange, Fleet, Outcome, Request, Router
from simulator.routing.errors import BUG
from tests.proxy.client import Client, request
from tests.proxy.harness import AMS, Harness, open_harness
from tests.proxy.machine import OK, MachineWire, echoing, responding
from tests.proxy.websocket import frame

_FLY_FIELDS = ["content-length", "date", "fly-request-id", "server", "via"]
STREAMED = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"


class Bug(Exception):
    """The bug that a test puts into flysim."""


class BuggyRouter(Router):
    """A router with a bug for paths that start with `/bug`."""

    def open(self, request: Request, edge: str, request_id: str, now: float) -> Exchange:
        if request.path.startswith("/bug/open"):
            raise Bug("in open")
        kind = BuggyExchange if request.path.startswith("/bug") else Exchange
        app = self.fleet.app_for_host(request.host)
        assert app is not None
        return kind(request, edge, app, request_id, now, self)


class BuggyExchange(Exchange):
    def begin(self, now: float) -> Any:
        if self.request.path == "/bug/begin":
            raise Bug("in begin")
        return super().begin(now)

    def receive(self, response: Any, now: float, *, body_kept: bool = True) -> Any:
        if self.request.path == "/bug/receive":
            raise Bug("in receive")
        return super().receive(response, now, body_kept=body_kept)


class BuggyNetwork(NetworkConditions):
    """Network conditions with a bug, in the method `broken`."""

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken

    def __bool__(self) -> bool:
        return True

    def find_reset(self, *_: Any) -> Any:
        return self._fail("find_reset")

    def delay_seconds(self, *_: Any) -> float:
        return self._fail("delay_seconds") or 0.0

    def _fail(self, method: str) -> None:
        if method == self.broken:
            raise Bug(f"in {method}")


@asynccontextmanager
async def buggy_harness(
    handler: Callable[[MachineWire], Any] | None = None, *, expected_bugs: int = 1
) -> AsyncIterator[Harness]:
    async with open_harness() as harness:
        harness.expected_bugs = expected_bugs
        await harness.add_machine(AMS, "ams", handler or responding(OK))
        router = harness.router
        harness.core.router = BuggyRouter(router.fleet, router.options, Random(7).randrange)
        yield harness


def report_of(harness: Harness) -> str:
    """The content of the report that the only line about a bug names."""
    (line,) = harness.reported_bugs()
    match = re.fullmatch(r"flysim hit a bug: Bug: in .*; report: (\S+)", line)
    assert match is not None, line
    return Path(match[1]).read_text(encoding="utf-8")


async def send_and_read(client: Client, data: bytes) -> bytes:
    await client.send(data)
    return await client.read_to_end()


@pytest.mark.parametrize("path", ["/bug/open", "/bug/begin", "/bug/receive"])
@pytest.mark.parametrize("tls", [False, True])
async def test_the_client_gets_a_bare_502_and_a_closed_connection(path: str, tls: bool) -> None:
    async with buggy_harness() as harness:
        client = await harness.connect(tls=tls)
        response = await client.fetch(path=path)
        assert response.status == 502
        assert sorted(name for name, _ in response.fields) == sorted([*_FLY_FIELDS, "connection"])
        assert response.body == b""
        assert await client.is_closed()
        assert "Bug: in" in report_of(harness)
        assert (await (await harness.connect()).fetch()).status == 200


@pytest.mark.parametrize("path", ["/bug/open", "/bug/begin", "/bug/receive"])
async def test_the_exchange_is_in_the_journal_as_failed(path: str) -> None:
    async with buggy_harness() as harness:
        response = await (await harness.connect()).fetch(path=path)
        (trace,) = await harness.finished()
        assert trace.request_id == response.get("fly-request-id")
        assert (trace.outcome, trace.status, trace.error) == (Outcome.REJECTED, 502, BUG)
        assert trace.message == harness.reported_bugs()[0]
        assert f"→ 502 from the proxy, {BUG}" in ladder(trace)


async def test_a_bug_is_reported_once_however_many_requests_hit_it() -> None:
    async with buggy_harness(expected_bugs=2) as harness:
        for _ in range(5):
            for path in ("/bug/open", "/bug/begin"):
                assert (await (await harness.connect()).fetch(path=path)).status == 502
        first, second = harness.reported_bugs()
        assert "in open" in first
        assert "in begin" in second


async def test_a_request_whose_body_is_still_sent_gets_a_502() -> None:
    async with buggy_harness() as harness:
        client = await harness.connect()
        await client.send(request("POST", "/bug/begin", "content-length: 5\r\n") + b"he")
        assert (await client.read_response()).status == 502
        assert await client.is_closed()


async def test_a_pipelined_request_behind_a_bug_is_not_delivered() -> None:
    async with buggy_harness() as harness:
        data = await send_and_read(
            await harness.connect(), request(path="/bug/begin") + request(path="/next")
        )
        assert data.count(b"HTTP/1.1 ") == 1
        assert data.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert not harness.machines[0].requests


async def test_the_connection_closes_if_the_response_has_begun() -> None:
    async with buggy_harness(responding(STREAMED)) as harness:
        harness.core.network = BuggyNetwork("find_reset")
        data = await send_and_read(await harness.connect(), request())
        assert data.count(b"HTTP/1.1 ") == 1
        assert data.startswith(b"HTTP/1.1 200 ")
        assert data.endswith(b"\r\n\r\n")
        (trace,) = await harness.finished()
        assert (trace.outcome, trace.status, trace.error) == (Outcome.BROKEN, 200, BUG)
        assert "the machine closed" not in ladder(trace)


async def test_other_streams_of_an_http2_connection_continue() -> None:
    async with buggy_harness() as harness:
        client = await harness.connect_h2()
        other = await client.open("POST", "/other", end=False)
        failed = await client.fetch(path="/bug/begin")
        assert failed.status == 502
        assert sorted(name for name, _ in failed.fields) == sorted([":status", *_FLY_FIELDS])
        await client.send_body(other, b"hello")
        assert (await client.complete(other)).status == 200
        assert (await client.fetch(path="/next")).status == 200
        assert client.goaway is None


async def test_an_http2_stream_whose_response_has_begun_is_reset() -> None:
    async with buggy_harness(responding(STREAMED)) as harness:
        harness.core.network = BuggyNetwork("find_reset")
        client = await harness.connect_h2()
        stream = await client.open()
        await client.wait(lambda: stream.reset is not None)
        assert stream.reset == ErrorCodes.INTERNAL_ERROR
        assert stream.status == 200


async def test_a_websocket_closes() -> None:
    async with buggy_harness(echoing()) as harness:
        client, head = await harness.open_websocket()
        assert head.status == 101
        harness.core.network = BuggyNetwork("find_reset")
        assert await send_and_read(client, frame(1, b"hello")) == b""
        (trace,) = await harness.finished()
        assert (trace.outcome, trace.error) == (Outcome.BROKEN, BUG)
        assert not harness.core.open_websockets.of(AMS)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_bug_outside_an_exchange_gets_a_502_too(tls: bool) -> None:
    async with buggy_harness() as harness:
        del harness.core.router.options  # a new stream reads them
        data = await send_and_read(await harness.connect(tls=tls), request() + request())
        assert data.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert data.count(b"HTTP/1.1 ") == 1
        assert b"server: Fly/" in data


async def test_a_bug_outside_an_exchange_ends_an_http2_connection() -> None:
    async with buggy_harness() as harness:
        client = await harness.connect_h2()
        assert (await client.fetch()).status == 200
        del harness.core.router.options  # a new stream reads them
        await client.open()
        await client.wait(lambda: client.closed)
        assert client.goaway == ErrorCodes.INTERNAL_ERROR


async def test_a_bug_in_a_task_closes_the_connection() -> None:
    async with buggy_harness() as harness:
        harness.core.network = BuggyNetwork("delay_seconds")
        assert await send_and_read(await harness.connect(), request()) == b""


async def test_a_bug_in_the_choice_of_the_protocol_closes_the_connection() -> None:
    async with buggy_harness() as harness:
        addons = harness.server._master.addons
        addons.remove(addons.get("nextlayer"))  # our addon calls it
        assert await send_and_read(await harness.connect(), request()) == b""


async def test_the_name_server_answers_servfail_and_leaves_the_report_to_asyncio() -> None:
    def fail() -> Fleet:
        raise Bug("in the fleet")

    reported: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    listener = DnsListener(NameServer(fail, "ams"))
    await listener.start(("127.0.0.1",), 0)
    try:
        assert listener.address is not None
        reader, writer = await asyncio.open_connection(*listener.address)
        query = _QUERY
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        response = dns_message(await reader.readexactly(size))
        assert response.response_code == response_codes.SERVFAIL
        assert [str(bug) for bug in reported] == ["in the fleet"]
        writer.close()
    finally:
        await listener.stop()


_QUERY = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07streams\x08internal\0\0\x1c\0\x01"


def dns_message(data: bytes) -> Any:
    kind: Any = getattr(dns, "DNSMessage", None) or dns.Message  # type: ignore[attr-defined]
    return kind.unpack(data)
