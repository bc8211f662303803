"""Machines that fail: what the client gets, and what the trace and the log say."""

from __future__ import annotations

import asyncio

import pytest

from simulator.routing import Fleet, RoutingOptions
from tests.proxy.client import request
from tests.proxy.harness import AMS, DFW, Harness, assert_is_the_proxys_own, open_harness, until
from tests.proxy.machine import OK, MachineWire, answering, replaying


async def test_a_machine_that_refuses_ends_in_pr03_with_pc01(harness: Harness) -> None:
    """F-5.41, F-5.42, F-6.16, F-6.53, K-3, K-33"""
    ams = await harness.add_machine(AMS, "ams", answering(OK))
    await ams.stop()
    client = await harness.connect()
    assert_is_the_proxys_own(await client.ask())
    (trace,) = await harness.finished()
    assert (trace.error, trace.outcome, trace.status) == ("PR03", "rejected", 502)
    (hop,) = trace.hops
    assert hop.failure is not None
    assert hop.failure.startswith("[PC01] instance refused connection")
    assert hop.attempts > 1
    (line,) = harness.proxy_log()
    assert (line.code, line.app, line.level, line.region) == ("PR03", "streams", "error", "ams")
    assert "last error: [PC01]" in line.message


async def test_another_machine_takes_what_the_first_refused(harness: Harness) -> None:
    """F-5.41"""
    ams = await harness.add_machine(AMS, "ams", answering(OK))
    await harness.add_machine(DFW, "dfw", answering(OK))
    await ams.stop()
    client = await harness.connect()
    assert (await client.ask("POST", body=b"kept")).body == b"hello"
    assert harness.machines[1].requests[0].body == b"kept"
    (trace,) = await harness.finished()
    assert [(hop.machine, hop.cause) for hop in trace.hops] == [("ams-1", "routed"), ("dfw-1", "retry")]


async def test_no_machine_at_all_is_pr04(harness: Harness) -> None:
    """F-6.54"""
    h1, h2 = await harness.connect(), await harness.connect_h2()
    assert_is_the_proxys_own(await h1.ask())
    assert_is_the_proxys_own(await h2.ask())
    assert [trace.error for trace in await harness.finished(2)] == ["PR04", "PR04"]


async def test_where_there_is_no_app_yet_the_client_gets_an_answer_and_the_log_the_reason(
    harness: Harness,
) -> None:
    """F-6.51"""
    harness.router.fleet = Fleet.of([])
    assert_is_the_proxys_own(await (await harness.connect()).ask())
    assert_is_the_proxys_own(await (await harness.connect_h2()).ask())
    assert [trace.error for trace in await harness.finished(2)] == ["PR01", "PR01"]
    assert {line.message for line in harness.proxy_log()} == {
        "[PR01] no known healthy instances found for route tcp/80"
    }


async def test_the_status_for_no_candidate_is_an_option() -> None:
    """F-6.60, K-3"""
    async with open_harness(RoutingOptions(no_candidate_status=503)) as harness:
        assert_is_the_proxys_own(await (await harness.connect()).ask(), 503)


async def test_a_replay_to_nobody_is_logged_at_the_machine_that_asked_for_it(harness: Harness) -> None:
    """F-1.51, F-1.64, F-1.99, F-6.2"""
    await harness.add_machine(AMS, "ams", replaying("instance=00000000000000"))
    assert_is_the_proxys_own(await (await harness.connect()).ask())
    (line,) = harness.proxy_log()
    assert (line.code, line.machine_id, line.region) == ("PR04", AMS, "ams")
    (trace,) = await harness.finished()
    assert trace.answered_at is not None
    assert trace.answered_at - trace.started_at >= 7.5


async def test_an_unreadable_directive_is_pa03(harness: Harness) -> None:
    """F-1.17, F-6.46"""
    await harness.add_machine(AMS, "ams", replaying("instance"))
    assert_is_the_proxys_own(await (await harness.connect()).ask())
    assert [line.code for line in harness.proxy_log()] == ["PA03"]


BROKEN_ANSWERS = {
    "closes at once": (b"", "closed"),
    "closes in the middle of the head": (b"HTTP/1.1 200 OK\r\ncontent-", "closed"),
    "closes in the middle of the first line": (b"HTTP/1", "closed"),
    "talks of a closed connection": (b"-ERR connection closed\r\n\r\n", "invalid"),
    "speaks no HTTP": (b"SSH-2.0-OpenSSH_9.7\r\n", "invalid"),
    "speaks no HTTP, with an empty line": (b"220 mail.example.com ESMTP\r\n\r\n", "invalid"),
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
    ("which", "close"),
    [
        (which, close)
        for which, (_, kind) in BROKEN_ANSWERS.items()
        for close in (True, False)
        if close or kind != "closed"  # who sends part of a head and stays is waited for
    ],
)
async def test_a_machine_without_a_proper_answer_is_pu02(harness: Harness, which: str, close: bool) -> None:
    """F-6.12, F-1.99: the request reached the app, so nobody else gets it (F-5.45, K-34)."""
    answer, kind = BROKEN_ANSWERS[which]
    ams = await harness.add_machine(AMS, "ams", answering(answer, close=close))
    dfw = await harness.add_machine(DFW, "dfw", answering(OK))
    client = await harness.connect()
    assert_is_the_proxys_own(await client.ask())
    assert (len(ams.requests), len(dfw.requests)) == (1, 0)
    (trace,) = await harness.finished()
    assert trace.error == "PU02"
    assert kind in (trace.message or "")
    assert [(line.code, line.machine_id) for line in harness.proxy_log()] == [("PU02", AMS)]
    await until(lambda: ams.open_connections == 0)


async def test_a_machine_that_resets_before_its_answer_is_pu02(harness: Harness) -> None:
    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        wire.reset()

    await harness.add_machine(AMS, "ams", handler)
    assert_is_the_proxys_own(await (await harness.connect()).ask())
    assert [line.code for line in harness.proxy_log()] == ["PU02"]


async def test_a_head_without_end_is_given_up(harness: Harness) -> None:
    """F-10.12: heads are bounded, on this side too."""

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        wire.writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(10_000):
            await wire.send(b"x-header-%d: %s\r\n" % (number, b"x" * 1000))

    await harness.add_machine(AMS, "ams", handler)
    assert_is_the_proxys_own(await (await harness.connect()).ask())
    assert [line.code for line in harness.proxy_log()] == ["PU02"]


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_machine_that_dies_in_its_answer_breaks_the_clients_too(harness: Harness, how: str) -> None:
    """F-6.15: what the client has is cut off, not silently complete."""
    die = asyncio.Event()

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await die.wait()
        getattr(wire, how)()

    await harness.add_machine(AMS, "ams", handler)
    client, h2 = await harness.connect(), await harness.connect_h2()
    await client.send(request())
    await client.read_head()
    assert await client.read_chunk() == b"hello"
    stream = await h2.open()
    await h2.wait(lambda: stream.body)
    die.set()
    assert await client.is_closed()
    await h2.complete(stream)
    assert (stream.ended, stream.reset is not None) == (False, True)
    assert [trace.outcome for trace in await harness.finished(2)] == ["broken", "broken"]
