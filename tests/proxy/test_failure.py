"""Machines that fail: the response to the client, the trace and the log."""

from __future__ import annotations

import asyncio

import pytest

from simulator.routing import Fleet, RoutingOptions
from tests.proxy.client import request
from tests.proxy.harness import AMS, DFW, Harness, assert_proxy_response, open_harness, until
from tests.proxy.machine import OK, MachineWire, replaying, responding


async def test_a_refused_connection_ends_in_pr03_with_pc01(harness: Harness) -> None:
    """F-5.41, F-5.42, F-6.16, F-6.53, K-3, K-33"""
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    await ams.stop()
    client = await harness.connect()
    assert_proxy_response(await client.fetch())
    (trace,) = await harness.finished()
    assert (trace.error, trace.outcome, trace.status) == ("PR03", "rejected", 502)
    (hop,) = trace.hops
    assert hop.failure is not None
    assert hop.failure.startswith("[PC01] instance refused connection")
    assert hop.attempts > 1
    (line,) = harness.proxy_log()
    assert (line.code, line.app, line.level, line.region) == ("PR03", "streams", "error", "ams")
    assert "last error: [PC01]" in line.message


async def test_a_refused_delivery_goes_to_another_machine(harness: Harness) -> None:
    """F-5.41"""
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    await harness.add_machine(DFW, "dfw", responding(OK))
    await ams.stop()
    client = await harness.connect()
    assert (await client.fetch("POST", body=b"kept")).body == b"hello"
    assert harness.machines[1].requests[0].body == b"kept"
    (trace,) = await harness.finished()
    assert [(hop.machine, hop.cause) for hop in trace.hops] == [("ams-1", "routed"), ("dfw-1", "retry")]


async def test_an_app_without_machines_ends_in_pr04(harness: Harness) -> None:
    """F-6.54"""
    h1, h2 = await harness.connect(), await harness.connect_h2()
    assert_proxy_response(await h1.fetch())
    assert_proxy_response(await h2.fetch())
    assert [trace.error for trace in await harness.finished(2)] == ["PR04", "PR04"]


async def test_a_request_without_an_app_is_rejected_and_logged_as_pr01(
    harness: Harness,
) -> None:
    """F-6.51"""
    harness.router.fleet = Fleet.of([])
    assert_proxy_response(await (await harness.connect()).fetch())
    assert_proxy_response(await (await harness.connect_h2()).fetch())
    assert [trace.error for trace in await harness.finished(2)] == ["PR01", "PR01"]
    assert {line.message for line in harness.proxy_log()} == {
        "[PR01] no known healthy instances found for route tcp/80"
    }


async def test_the_status_for_no_candidate_is_configurable() -> None:
    """F-6.60, K-3"""
    async with open_harness(RoutingOptions(no_candidate_status=503)) as harness:
        assert_proxy_response(await (await harness.connect()).fetch(), 503)


async def test_a_replay_to_an_unknown_machine_is_logged_for_the_replaying_machine(harness: Harness) -> None:
    """F-1.51, F-1.64, F-1.99, F-6.2"""
    await harness.add_machine(AMS, "ams", replaying("instance=00000000000000"))
    assert_proxy_response(await (await harness.connect()).fetch())
    (line,) = harness.proxy_log()
    assert (line.code, line.machine_id, line.region) == ("PR04", AMS, "ams")
    (trace,) = await harness.finished()
    assert trace.answered_at is not None
    assert trace.answered_at - trace.started_at >= 7.5


async def test_an_invalid_directive_ends_in_pa03(harness: Harness) -> None:
    """F-1.17, F-6.46"""
    await harness.add_machine(AMS, "ams", replaying("instance"))
    assert_proxy_response(await (await harness.connect()).fetch())
    assert [line.code for line in harness.proxy_log()] == ["PA03"]


INVALID_RESPONSES = {
    "closes at once": (b"", "closed"),
    "closes in the middle of the head": (b"HTTP/1.1 200 OK\r\ncontent-", "closed"),
    "closes in the middle of the first line": (b"HTTP/1", "closed"),
    "mentions a closed connection": (b"-ERR connection closed\r\n\r\n", "invalid"),
    "does not speak HTTP": (b"SSH-2.0-OpenSSH_9.7\r\n", "invalid"),
    "does not speak HTTP, with an empty line": (b"220 mail.example.com ESMTP\r\n\r\n", "invalid"),
    "sends zeros": (bytes(1000), "invalid"),
    "has no status": (b"HTTP/1.1 OK\r\n\r\n", "invalid"),
    "has a wrong header line": (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "invalid"),
    "has a wrong header name": (b"HTTP/1.1 200 OK\r\nna me: 1\r\ncontent-length: 0\r\n\r\n", "invalid"),
    "has two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "invalid"),
    "has length and chunks": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "invalid",
    ),
    "has a negative length": (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "invalid"),
}


@pytest.mark.parametrize(
    ("case", "close"),
    [
        (case, close)
        for case, (_, kind) in INVALID_RESPONSES.items()
        for close in (True, False)
        if close
        or kind != "closed"  # the proxy waits for the rest of an incomplete head while the connection is open
    ],
)
async def test_an_invalid_response_ends_in_pu02(harness: Harness, case: str, close: bool) -> None:
    """F-6.12, F-1.99: the request reached the app, so it is not retried (F-5.45, K-34)."""
    response, kind = INVALID_RESPONSES[case]
    ams = await harness.add_machine(AMS, "ams", responding(response, close=close))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    assert_proxy_response(await client.fetch())
    assert (len(ams.requests), len(dfw.requests)) == (1, 0)
    (trace,) = await harness.finished()
    assert trace.error == "PU02"
    assert kind in (trace.message or "")
    assert [(line.code, line.machine_id) for line in harness.proxy_log()] == [("PU02", AMS)]
    await until(lambda: ams.open_connections == 0)


async def test_a_reset_before_the_response_ends_in_pu02(harness: Harness) -> None:
    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        wire.reset()

    await harness.add_machine(AMS, "ams", handler)
    assert_proxy_response(await (await harness.connect()).fetch())
    assert [line.code for line in harness.proxy_log()] == ["PU02"]


async def test_a_reset_is_not_the_end_of_a_body_that_ends_with_the_connection(harness: Harness) -> None:
    """RFC 9112, 8: it ends with a complete close. What has arrived is passed on."""

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await crash.wait()
        wire.reset()

    crash = asyncio.Event()
    await harness.add_machine(AMS, "ams", handler)
    client = await harness.connect_h2()
    stream = await client.open()
    await client.wait(lambda: stream.body == b"hello")
    crash.set()
    await client.complete(stream)
    assert (stream.ended, stream.reset is not None) == (False, True)
    assert [trace.outcome for trace in await harness.finished()] == ["broken"]


async def test_an_endless_response_head_ends_in_pu02(harness: Harness) -> None:
    """F-10.12: response heads have a size limit, too."""

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        wire.writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(10_000):
            await wire.send(b"x-header-%d: %s\r\n" % (number, b"x" * 1000))

    await harness.add_machine(AMS, "ams", handler)
    assert_proxy_response(await (await harness.connect()).fetch())
    assert [line.code for line in harness.proxy_log()] == ["PU02"]


@pytest.mark.parametrize("method", ["close", "reset"])
async def test_a_machine_that_crashes_in_its_response_truncates_the_clients_response(
    harness: Harness, method: str
) -> None:
    """F-6.15: the client can tell that its response is incomplete."""
    crash = asyncio.Event()

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await crash.wait()
        getattr(wire, method)()

    await harness.add_machine(AMS, "ams", handler)
    client, h2 = await harness.connect(), await harness.connect_h2()
    await client.send(request())
    await client.read_head()
    assert await client.read_chunk() == b"hello"
    stream = await h2.open()
    await h2.wait(lambda: stream.body)
    crash.set()
    assert await client.is_closed()
    await h2.complete(stream)
    assert (stream.ended, stream.reset is not None) == (False, True)
    assert [trace.outcome for trace in await harness.finished(2)] == ["broken", "broken"]
