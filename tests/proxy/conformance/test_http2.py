"""HTTP/2 frames, byte by byte (RFC 9113), on any version of h2."""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy.conformance.http2_cases import CASES, ENHANCE_YOUR_CALM, NO_ERROR, Frames
from tests.proxy.conformance.raw_http2 import GET, PREFACE, Outcome, converse, fields, headers, raw
from tests.proxy.conformance.strict_machine import OK, StrictMachine
from tests.proxy.harness import AMS, Harness, until
from tests.proxy.machine import MachineWire
from tests.proxy.wire import DEADLINE_SECONDS

_BARRIER = b"GET /barrier HTTP/1.1"
_LATER = 101
"""A stream that no case uses."""


def test_the_table_is_complete() -> None:
    names = [name for name, _ in CASES]
    assert len(set(names)) == len(names) >= 60


async def _converse(harness: Harness, sent: bytes, streams: tuple[int, ...] = ()) -> Outcome:
    reader, writer = await harness._open("ams", None)
    try:
        return await converse(reader, writer, sent, streams=streams)
    finally:
        writer.close()


async def _barrier(harness: Harness) -> None:
    """Wait until the machine has everything that was sent before: it answers a request of another connection."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        other = await harness.connect()
        assert (await other.fetch(path="/barrier")).status == 200
        await other.aclose()


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
async def test_frames_have_their_one_outcome(harness: Harness, case: Frames) -> None:
    machine = StrictMachine()
    await harness.add_machine(AMS, "ams", machine.handler())
    if case.outcome == "served":
        outcome = await _converse(harness, case.sent, case.streams)
        assert [outcome.status(stream) for stream in case.streams] == [200] * len(case.streams)
    elif case.outcome == "ignored":
        outcome = await _converse(harness, case.sent + headers(fields(), stream=_LATER), (_LATER,))
        assert outcome.status(_LATER) == 200
    else:
        outcome = await _converse(harness, case.sent, () if case.goaway else case.streams)
        _check_error(case, outcome)
    await _barrier(harness)
    received = [request for request in machine.requests() if request.line != _BARRIER]
    if case.outcome == "refused":
        assert not any(
            request.is_complete for request in received
        )  # the head of an invalid body may have arrived
    for request in received[-1:]:
        assert case.body in (None, request.body)
        for name, value in case.has:
            assert request.all(name) == [value]
        for name in case.lacks:
            assert request.all(name) == []


def _check_error(case: Frames, outcome: Outcome) -> None:
    if case.outcome == "either" and not outcome.is_closed:  # a stream error is allowed, too
        return
    if case.goaway:
        assert outcome.goaway in case.goaway
        assert outcome.is_closed
        return
    status = outcome.status()
    assert status in (None, 400)
    assert status == 400 or 1 in outcome.resets or outcome.goaway not in (None, NO_ERROR)
    if status == 400:
        assert outcome.responses[1]["server"].startswith("Fly/")
        assert outcome.responses[1]["content-length"] == "0"


@pytest.mark.parametrize("apart", [False, True], ids=["in one packet", "byte by byte"])
async def test_a_goaway_of_the_client_lets_its_streams_finish(harness: Harness, apart: bool) -> None:
    """RFC 9113, 6.8"""
    release = asyncio.Event()

    async def slow(wire: MachineWire) -> None:
        await wire.read_request()
        await release.wait()
        await wire.send(OK)

    machine = await harness.add_machine(AMS, "ams", slow)
    client = await harness.connect_h2()
    stream = await client.open()
    goaway = raw(7, 0, 0, bytes(8) + b"bye")
    for piece in [bytes([byte]) for byte in goaway] if apart else [goaway]:
        client.writer.write(piece)
        await client.writer.drain()
    await until(lambda: len(machine.requests) == 1)
    release.set()
    await client.wait(lambda: stream.ended)
    assert (stream.status, bytes(stream.body)) == (200, b"ok")
    await until(lambda: client.closed)


async def test_streams_that_are_reset_at_once_reach_no_machine(harness: Harness) -> None:
    machine = StrictMachine()
    await harness.add_machine(AMS, "ams", machine.handler())
    resets = b"".join(headers(GET, stream=n) + raw(3, 0, n, b"\0\0\0\x08") for n in range(1, 41, 2))
    outcome = await _converse(harness, resets + headers(GET, stream=_LATER), (_LATER,))
    assert outcome.status(_LATER) == 200
    assert len(machine.requests()) == 1


async def test_a_client_that_resets_many_streams_is_disconnected(harness: Harness) -> None:
    """CVE-2023-44487"""
    machine = StrictMachine()
    await harness.add_machine(AMS, "ams", machine.handler())
    resets = b"".join(headers(GET, stream=n) + raw(3, 0, n, b"\0\0\0\x08") for n in range(1, 4001, 2))
    outcome = await _converse(harness, resets)
    assert outcome.goaway == ENHANCE_YOUR_CALM
    assert outcome.is_closed
    await _barrier(harness)
    assert len(machine.requests()) < 20  # those whose reset is processed in the next turn


async def test_frames_of_one_client_are_processed_in_bounded_numbers(harness: Harness) -> None:
    """Another client's request is answered before all the frames of a flood."""
    await harness.add_machine(AMS, "ams", StrictMachine().handler())
    flood = raw(6, 0, 0, bytes(8)) * 5000
    reader, writer = await harness._open("ams", None)
    flooding = asyncio.ensure_future(converse(reader, writer, flood))
    await until(lambda: any(edge.awaits_turn(edge.context.client) for edge in harness.layers()))
    other = await harness.connect()
    assert (await other.fetch()).status == 200
    assert not flooding.done()
    assert not (await flooding).is_closed
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(PREFACE + headers(GET), id="HEADERS before SETTINGS"),
        pytest.param(PREFACE[:-4] + b"XX\r\n" + raw(4, 0, 0, b"") + headers(GET), id="another preface"),
    ],
)
async def test_a_connection_that_does_not_begin_with_the_preface_is_closed(
    harness: Harness, sent: bytes
) -> None:
    """RFC 9113, 3.4"""
    machine = StrictMachine()
    await harness.add_machine(AMS, "ams", machine.handler())
    client = await harness.connect()
    await client.send(sent)
    await client.read_to_end()
    assert machine.requests() == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nhi", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Hop: 1\r\n\r\n", 200),
        (b"HTTP/1.1 204 x\r\nContent-Length: 5\r\nX-Upper: \t a \r\n\r\n", 204),
        (b"HTTP/1.1 103 x\r\nX-Hop: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200),
        (b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 0\r\n\r\n", 502),
        (b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", 502),
    ],
)
async def test_a_response_of_http_1_has_no_connection_specific_fields(
    harness: Harness, sent: bytes, status: int
) -> None:
    """RFC 9113, 8.2.2"""
    await harness.add_machine(AMS, "ams", StrictMachine(response=sent).handler())
    outcome = await _converse(harness, headers(GET), (1,))
    assert outcome.status() == status
    names = outcome.responses[1].keys()
    assert names.isdisjoint({"connection", "upgrade", "keep-alive", "transfer-encoding", "x-hop"})
    assert list(names) == [name.lower() for name in names]
    assert all(value == value.strip() for value in outcome.responses[1].values())
