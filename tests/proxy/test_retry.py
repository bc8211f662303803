"""Retries: connections that close at their reuse, connect timeouts, and machines that restart."""

from __future__ import annotations

import os
import socket
from select import select

import pytest

from tests.proxy.harness import (
    AMS,
    DFW,
    DFW_2,
    Harness,
    assert_proxy_response,
    unresponsive_port,
    until,
)
from tests.proxy.machine import OK, MachineWire, replaying, responding


async def close_when_reused(wire: MachineWire) -> None:
    """Responds to the first request of each connection, and closes after it has read the second."""
    await wire.read_request()
    await wire.send(OK)
    await wire.read_request()


async def close_unread(wire: MachineWire) -> None:
    """Responds to the first request of each connection, and closes when the second arrives, without reading it."""
    await wire.read_request()
    wire.pause()
    await wire.send(OK)
    with socket.socket(fileno=os.dup(wire.writer.get_extra_info("socket").fileno())) as kernel:
        await until(lambda: select([kernel], [], [], 0)[0] != [])
    wire.writer.transport.abort()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_a_connection_that_closes_at_its_reuse_is_replaced(harness: Harness, method: str) -> None:
    ams = await harness.add_machine(AMS, "ams", close_unread)
    client = await harness.connect()
    body = b"again" if method == "PUT" else None
    for count in (1, 2, 3):
        assert (await client.fetch(method, body=body)).status == 200
        assert ams.connections == count
    for trace in await harness.finished(3):
        assert (trace.status, len(trace.hops)) == (200, 1)
    assert harness.proxy_log() == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_request_that_a_machine_has_read_is_not_sent_twice(harness: Harness, method: str) -> None:
    """F-5.45, K-34: the machine may have processed the first one."""
    ams = await harness.add_machine(AMS, "ams", close_when_reused)
    client = await harness.connect()
    assert (await client.fetch(method, body=b"one")).status == 200
    assert_proxy_response(await client.fetch(method, body=b"two"))
    assert [message.body for message in ams.requests] == [b"one", b"two"]
    assert [line.code for line in harness.proxy_log()] == ["PU02"]
    assert (await client.fetch(method, body=b"three")).status == 200


async def test_a_reused_connection_that_closes_in_the_response_head_fails(harness: Harness) -> None:
    """The machine began to respond, so the connection was not closed while idle."""

    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(OK)
        await wire.read_request()
        await wire.send(b"HTTP/1.1 200 O")

    ams = await harness.add_machine(AMS, "ams", handler)
    client = await harness.connect()
    assert (await client.fetch()).status == 200
    assert_proxy_response(await client.fetch())
    assert len(ams.requests) == 2


async def test_a_new_connection_that_closes_is_not_retried(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(b"", close=True))
    assert_proxy_response(await (await harness.connect()).fetch())
    assert len(ams.requests) == 1


async def test_a_keep_alive_client_reaches_a_restarted_machine(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    h1, h2 = await harness.connect(), await harness.connect_h2()
    for _ in range(2):
        assert (await h1.fetch()).status == (await h2.fetch()).status == 200
        await ams.stop()
        await until(lambda: harness.resource_counts()["machine connections"] == 0)
        assert (await h1.fetch()).status == (await h2.fetch()).status == 502
        await ams.restart()
    assert (await h1.fetch()).status == (await h2.fetch()).status == 200
    assert harness.resource_counts()["transports"] == 2


async def test_failed_attempts_leave_nothing_behind(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    await ams.stop()
    client = await harness.connect()
    for _ in range(5):
        assert (await client.fetch()).status == 502
    assert harness.resource_counts() == dict.fromkeys(harness.resource_counts(), 0)


async def test_a_connection_attempt_times_out(harness: Harness) -> None:
    """F-1.49, F-1.51, F-6.20"""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW};timeout=150ms"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    with unresponsive_port() as port:
        harness.change(dfw, port=port)
        assert_proxy_response(await (await harness.connect()).fetch())
    (trace,) = await harness.finished()
    assert trace.error == "PR03"
    assert "[PC05] connection to instance timed out" in (trace.message or "")
    assert harness.resource_counts()["transports"] == 1


async def test_the_timeout_of_a_replay_limits_the_connection_attempt(harness: Harness) -> None:
    """F-1.7, F-1.49, F-1.52, F-1.54, F-1.55: then the machine that replayed gets the request back."""

    async def handler(wire: MachineWire) -> None:
        while True:
            failed = (await wire.read_request()).get("fly-replay-failed")
            replay = f"HTTP/1.1 307 x\r\nfly-replay: instance={DFW};timeout=150ms;fallback=force_self\r\n"
            await wire.send(OK if failed else replay.encode() + b"content-length: 0\r\n\r\n")

    ams = await harness.add_machine(AMS, "ams", handler)
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    with unresponsive_port() as port:
        harness.change(dfw, port=port)
        assert (await (await harness.connect()).fetch()).body == b"hello"
    failed = ams.requests[1].get("fly-replay-failed") or ""
    assert f"instance={DFW};app=streams;replay_source={AMS};reason=timeout;elapsed_ms=" in failed


async def test_a_failed_replay_does_not_affect_the_next_request(harness: Harness) -> None:
    async def handler(wire: MachineWire) -> None:
        while True:
            target = (await wire.read_request()).target
            to = {"/dead": DFW, "/gone": DFW_2}.get(target)
            replay = f"HTTP/1.1 307 x\r\nfly-replay: instance={to}\r\ncontent-length: 0\r\n\r\n".encode()
            await wire.send(replay if to else OK)

    await harness.add_machine(AMS, "ams", handler)
    dead = await harness.add_machine(DFW, "dfw", responding(OK))
    await dead.stop()
    client = await harness.connect()
    statuses = [(await client.fetch(path=path)).status for path in ("/", "/dead", "/", "/gone", "/")]
    assert statuses == [200, 502, 200, 502, 200]
