"""Request bodies: replayed unchanged up to the limit; streamed, but not replayed, beyond it."""

from __future__ import annotations

import asyncio
import random

import pytest

from simulator.routing import RoutingOptions
from tests.proxy.client import chunked, request
from tests.proxy.harness import AMS, DFW, Harness, open_harness, until
from tests.proxy.machine import OK, MachineWire, ScriptedMachine, replaying, responding

LIMIT = 1_048_576
"""K-1"""
REPLAY = f"HTTP/1.1 307 x\r\nfly-replay: instance={DFW}\r\ncontent-length: 0\r\n\r\n".encode()


def random_body(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def send(harness: Harness, kind: str, body: bytes) -> int:
    """POST `body` with the framing `kind`. Returns the status of the response."""
    if kind.startswith("h2"):
        h2 = await harness.connect_h2()
        length = [("content-length", str(len(body)))] if kind == "h2 with length" else []
        return (await h2.fetch("POST", "/", length, body)).status
    client = await harness.connect()
    if kind == "length":
        client.writer.write(request("POST", body=body))
    else:
        client.writer.write(request("POST", headers="transfer-encoding: chunked\r\n"))
        pieces = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
        client.writer.write(chunked(*pieces))
    return (await client.read_response()).status


KINDS = ["length", "chunked", "h2 with length", "h2 without length"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 70_000, LIMIT])
async def test_a_body_up_to_the_limit_is_replayed_byte_for_byte(
    harness: Harness, kind: str, size: int
) -> None:
    """F-10.1, F-1.27, F-1.32, F-1.34, K-1: a body of exactly 1,048,576 bytes is replayed."""
    body = random_body(size)
    ams = await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    assert await send(harness, kind, body) == 200
    assert ams.requests[0].body == body
    assert dfw.requests[0].body == body
    framing = [request.get("content-length") for request in (*ams.requests, *dfw.requests)]
    assert framing == [str(size) if "length" in kind and "without" not in kind else None] * 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_body_one_byte_over_the_limit_cannot_be_replayed(harness: Harness, kind: str) -> None:
    """F-1.32, F-1.35, F-1.36, F-6.44, K-1, K-2: PA01, and the client gets an empty 502."""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    assert await send(harness, kind, random_body(LIMIT + 1)) == 502
    assert dfw.requests == []
    (trace,) = await harness.finished()
    assert trace.error == "PA01"
    assert [(line.code, line.app, line.machine_id) for line in harness.proxy_log()] == [
        ("PA01", "streams", AMS)
    ]


async def test_the_replay_body_limit_is_configurable() -> None:
    """F-1.33, K-1"""
    async with open_harness(RoutingOptions(replay_body_limit_bytes=10)) as harness:
        await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
        await harness.add_machine(DFW, "dfw", responding(OK))
        assert await send(harness, "length", b"ten bytes!") == 200
        assert await send(harness, "length", b"too many...") == 502


@pytest.mark.parametrize("kind", KINDS)
async def test_a_body_over_the_limit_arrives_complete_without_a_replay(harness: Harness, kind: str) -> None:
    body = random_body(5 * LIMIT + 3)
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    assert await send(harness, kind, body) == 200
    assert ams.requests[0].body == body


async def test_a_replay_by_header_does_not_wait_for_the_upload(harness: Harness) -> None:
    """The replay arrives while the client is still sending. What the client sends later goes to the target."""

    async def replay_at_once(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(REPLAY)
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", replay_at_once)
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    await client.send(request("POST", headers="content-length: 10\r\n") + b"first")
    await until(lambda: dfw.connections)
    await client.send(b"later")
    assert (await client.read_response()).status == 200
    assert dfw.requests[0].body == b"firstlater"


async def test_a_chunked_upload_in_progress_is_replayed_with_the_data_so_far(harness: Harness) -> None:
    async def replay_at_once(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.read_chunk()
        await wire.send(REPLAY)
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", replay_at_once)
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    await client.send(request("POST", headers="transfer-encoding: chunked\r\n") + b"5\r\nfirst\r\n")
    await until(lambda: dfw.connections)
    await client.send(chunked(b"later"))
    assert (await client.read_response()).status == 200
    assert b"".join(dfw.requests[0].chunks) == b"firstlater"


async def test_a_body_declared_over_the_limit_cannot_be_replayed_before_it_arrives(
    harness: Harness,
) -> None:
    """F-1.32: the request is too large, however little of it has been read."""

    async def replay_at_once(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(REPLAY)
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", replay_at_once)
    await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    await client.send(request("POST", headers=f"content-length: {LIMIT + 1}\r\n") + b"a little")
    assert (await client.read_response()).status == 502
    (trace,) = await harness.finished()
    assert trace.error == "PA01"


async def test_the_rest_of_a_rejected_upload_is_read_and_the_connection_stays_open(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    client = await harness.connect()
    body = random_body(2 * LIMIT)
    for _ in range(2):
        client.writer.write(request("POST", body=body))
        assert (await client.read_response()).status == 502


async def test_a_client_that_expects_100_continue_gets_it(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    await client.send(request("POST", headers="expect: 100-continue\r\ncontent-length: 4\r\n"))
    assert (await client.read_head()).status == 100
    await client.send(b"body")
    assert (await client.read_response()).status == 200
    assert [request.get("expect") for request in (*ams.requests, *dfw.requests)] == [None, None]
    assert dfw.requests[0].body == b"body"


async def test_an_http_1_0_client_gets_no_100_continue(harness: Harness) -> None:
    """RFC 9110, 10.1.1"""
    await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    await client.send(b"POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody")
    assert (await client.read_head()).status == 200


async def test_an_http_2_client_that_expects_100_continue_gets_it(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect_h2()
    stream = await client.open("POST", headers=[("expect", "100-continue")], end=False)
    await client.wait(lambda: stream.interim)
    await client.send_body(stream, b"body")
    await client.complete(stream)
    assert (stream.interim, stream.status) == ([100], 200)
    assert ams.requests[0].body == b"body"


async def test_a_response_sent_before_the_body_is_read_is_relayed_at_once(harness: Harness) -> None:
    async def refuse_early(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await wire.read_to_end()

    ams = await harness.add_machine(AMS, "ams", refuse_early)
    client = await harness.connect()
    await client.send(request("POST", headers="content-length: 100000\r\n") + b"some")
    response = await client.read_response()
    assert (response.status, response.body) == (413, b"big")
    await until(lambda: ams.open_connections == 0)
    await client.send(bytes(99_996))
    await client.send(request())
    assert (await client.read_response()).status == 413
    assert ams.connections == 2


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_the_connection_ends_with_a_response_sent_before_the_body_is_read(
    harness: Harness, version: str, tls: bool
) -> None:
    """A client that waits for the end of the response before it goes on, or leaves, would wait forever."""

    async def refuse_early(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(b"HTTP/1.1 413 Too Large\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"big"))
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", refuse_early)
    client = await harness.connect(tls=tls)
    head = (
        f"POST / HTTP/{version}\r\nhost: streams.fly.dev\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n"
    )
    await client.send(head.encode() + b"some")
    assert b"big" in await client.read_to_end()


@pytest.mark.parametrize(
    "response", [b"413 Too Large\r\n", b"307 Temporary Redirect\r\nfly-replay: region=dfw\r\n"]
)
async def test_an_upload_does_not_wait_for_a_machine_that_has_responded(
    harness: Harness, response: bytes
) -> None:
    left = asyncio.Event()

    async def respond_without_reading(wire: MachineWire) -> None:
        wire.reader._limit = 65536  # type: ignore[attr-defined] # otherwise asyncio reads ahead
        await wire.read_request_head()
        wire.pause()
        await until(lambda: harness.unsent_to_machines() > 65536)
        await wire.send(b"HTTP/1.1 " + response + b"content-length: 0\r\n\r\n")
        await left.wait()

    ams = await harness.add_machine(AMS, "ams", respond_without_reading)
    await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    head = request("POST", headers=f"content-length: {UPLOAD_BYTES}\r\n")
    client.writer.write(head + bytes(UPLOAD_BYTES) + request("GET"))
    assert (await client.read_response()).status in (413, 502)  # the upload is too large to be replayed
    harness.change(ams, healthy=False)
    assert (await client.read_response()).status == 200
    left.set()


UPLOAD_BYTES = 64 * 2**20


async def add_paused_reader(harness: Harness, proceed: asyncio.Event) -> ScriptedMachine:
    """A machine that reads the body of an upload only once `proceed` is set."""

    async def handler(wire: MachineWire) -> None:
        wire.reader._limit = 65536  # type: ignore[attr-defined] # otherwise asyncio reads ahead
        head = await wire.read_request_head()
        wire.pause()
        await proceed.wait()
        wire.resume()
        await wire.discard_body(head)
        await wire.send(OK)

    return await harness.add_machine(AMS, "ams", handler)


async def test_a_client_is_not_read_faster_than_its_machine_reads(harness: Harness) -> None:
    """An upload waits for the machine to read it: over HTTP/1.1, the client's own socket fills up."""
    proceed = asyncio.Event()
    ams = await add_paused_reader(harness, proceed)
    client = await harness.connect()
    client.writer.write(request("POST", headers=f"content-length: {UPLOAD_BYTES}\r\n"))
    client.writer.write(bytes(UPLOAD_BYTES))
    await until(lambda: ams.requests)
    await until(lambda: harness.unsent_to_machines() > 65536)
    assert harness.unsent_to_machines() < 2 * LIMIT
    proceed.set()
    assert (await client.read_response()).status == 200
    assert harness.unsent_to_machines() == 0


async def test_an_http_2_upload_waits_for_its_machine_without_blocking_other_streams(
    harness: Harness,
) -> None:
    proceed = asyncio.Event()
    ams = await add_paused_reader(harness, proceed)
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect_h2()
    upload = await client.open("POST", end=False)
    task = asyncio.create_task(client.send_body(upload, bytes(UPLOAD_BYTES)))
    await until(lambda: harness.unsent_to_machines() > 65536)
    await until(lambda: client.h2.local_flow_control_window(upload.id) == 0)
    harness.change(ams, healthy=False)
    for count in range(10):
        assert (await client.fetch("POST", body=b"small")).status == 200
        assert len(dfw.requests) == count + 1
    assert not task.done()
    assert harness.unsent_to_machines() < 2 * LIMIT
    proceed.set()
    await task
    assert (await client.complete(upload)).status == 200


@pytest.mark.parametrize("kind", KINDS)
async def test_a_large_upload_is_retried_until_a_machine_has_read_some_of_it(
    harness: Harness, kind: str
) -> None:
    """F-5.41, F-5.46: a machine that refuses the connection has read nothing of the body."""
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    await ams.stop()
    body = random_body(3 * LIMIT)
    assert await send(harness, kind, body) == 200
    assert dfw.requests[0].body == body
    (trace,) = await harness.finished()
    assert trace.path == ("ams-1", "dfw-1")


async def test_an_upload_is_read_up_to_the_limit_while_no_machine_is_available() -> None:
    """While the proxy looks for a machine, an upload fills the client's socket buffer and not the proxy's memory."""
    async with open_harness(realtime=True) as harness:
        ams = await harness.add_machine(AMS, "ams", responding(OK))
        await ams.stop()
        client = await harness.connect()
        client.writer.write(request("POST", headers="transfer-encoding: chunked\r\n"))
        client.writer.write(chunked(*[bytes(2**20)] * 64))
        await until(lambda: harness.buffered_uploads() > LIMIT)
        assert harness.buffered_uploads() < LIMIT + 2**17
        await ams.restart()
        assert (await client.read_response()).status == 200
