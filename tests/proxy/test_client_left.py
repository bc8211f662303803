"""Clients that disconnect early: the proxy closes the machine's connection at once and leaks nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from simulator.routing import Trace
from tests.proxy.client import request
from tests.proxy.harness import AMS, DFW, Harness, open_harness, unresponsive_port, until
from tests.proxy.machine import OK, MachineWire, ScriptedMachine, replaying, responding

CLOSE_METHODS = ["close", "reset"]


async def silent(wire: MachineWire) -> None:
    """Reads the request and never responds."""
    await wire.read_request_head()
    await wire.read_to_end()


async def trickling(wire: MachineWire) -> None:
    """Starts a response that never ends."""
    await wire.read_request_head()
    await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    await wire.read_to_end()


async def assert_all_gone(harness: Harness, machine: ScriptedMachine) -> Trace:
    await until(lambda: machine.open_connections == 0)
    (trace,) = await harness.finished()
    assert trace.outcome == "client_left"
    assert trace.ended_at is not None
    await until(lambda: not harness.server._clients)
    return trace


@pytest.mark.parametrize("method", CLOSE_METHODS)
async def test_a_client_disconnects_before_the_response_head(harness: Harness, method: str) -> None:
    ams = await harness.add_machine(AMS, "ams", silent)
    client = await harness.connect()
    await client.send(request())
    await until(lambda: ams.requests)
    getattr(client, method)()
    trace = await assert_all_gone(harness, ams)
    assert trace.hops[0].failure == "the client disconnected"


@pytest.mark.parametrize("method", CLOSE_METHODS)
async def test_a_client_disconnects_while_the_response_streams(harness: Harness, method: str) -> None:
    ams = await harness.add_machine(AMS, "ams", trickling)
    client = await harness.connect()
    await client.send(request())
    await client.read_head()
    getattr(client, method)()
    trace = await assert_all_gone(harness, ams)
    assert trace.status == 200


@pytest.mark.parametrize("method", CLOSE_METHODS)
async def test_a_client_disconnects_while_it_uploads(harness: Harness, method: str) -> None:
    ams = await harness.add_machine(AMS, "ams", silent)
    client = await harness.connect()
    await client.send(request("POST", headers="content-length: 1000\r\n") + b"not all")
    await until(lambda: ams.requests)
    getattr(client, method)()
    await assert_all_gone(harness, ams)


async def test_a_client_disconnects_while_its_upload_is_stalled(harness: Harness) -> None:
    """The FIN is queued behind the data, so the proxy notices it once the machine continues to read."""
    resume = asyncio.Event()

    async def never_reads(wire: MachineWire) -> None:
        await wire.read_request_head()
        wire.pause()
        await resume.wait()
        wire.resume()
        await wire.read_to_end()

    ams = await harness.add_machine(AMS, "ams", never_reads)
    client = await harness.connect()
    client.writer.write(request("POST", headers=f"content-length: {2**26}\r\n") + bytes(2**26))
    await until(lambda: harness.unsent_to_machines() > 2**16)
    client.reset()
    resume.set()
    await assert_all_gone(harness, ams)


@pytest.mark.parametrize("method", CLOSE_METHODS)
async def test_a_client_disconnects_while_its_download_is_stalled(harness: Harness, method: str) -> None:
    """The client reads nothing, so the proxy notices the disconnect when it writes."""

    async def flood(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await wire.send(bytes(2**16))

    ams = await harness.add_machine(AMS, "ams", flood)
    client = await harness.connect()
    client.pause()
    await client.send(request())
    await until(lambda: harness.unsent_to_clients() > 2**16)
    getattr(client, method)()
    await assert_all_gone(harness, ams)


@pytest.mark.parametrize("method", CLOSE_METHODS)
async def test_a_client_disconnects_while_the_proxy_waits_to_retry(method: str) -> None:
    async with open_harness(realtime=True) as harness:
        ams = await harness.add_machine(AMS, "ams", responding(OK))
        await ams.stop()
        client = await harness.connect()
        await client.send(request())
        await until(lambda: harness.resource_counts()["wake-ups"])
        getattr(client, method)()
        await assert_all_gone(harness, ams)


async def test_a_client_disconnects_during_the_delay_of_a_failed_replay() -> None:
    """F-1.51: the proxy does not wait out the delay of a failed replay once the client has disconnected."""
    async with open_harness(realtime=True) as harness:
        ams = await harness.add_machine(AMS, "ams", replaying("instance=00000000000000"))
        client = await harness.connect()
        await client.send(request())
        await until(lambda: harness.resource_counts()["wake-ups"])
        client.close()
        await assert_all_gone(harness, ams)


@pytest.mark.parametrize("method", CLOSE_METHODS)
async def test_a_client_disconnects_while_the_proxy_connects(harness: Harness, method: str) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    with unresponsive_port() as port:
        harness.change(ams, port=port)
        client = await harness.connect()
        await client.send(request())
        await until(lambda: harness.resource_counts()["waiting"])
        getattr(client, method)()
        await assert_all_gone(harness, ams)


async def test_a_client_disconnects_after_a_replay(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", silent)
    client = await harness.connect()
    await client.send(request())
    await until(lambda: dfw.requests)
    client.close()
    trace = await assert_all_gone(harness, dfw)
    assert trace.path == ("ams-1", "dfw-1")


async def test_a_client_disconnects_in_the_middle_of_a_request_head(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(OK))
    for part in (b"", b"G", b"GET", b"GET / HTTP/1.1\r\nhost:", b"PRI * HT", b"\x16\x03"):
        client = await harness.connect()
        await client.send(part)
        await until(lambda: harness.server._clients)
        client.close()
        await until(lambda: not harness.server._clients)
    assert harness.traces == ()


# Over HTTP/2, one stream can be reset while the others continue.

Begin = Callable[[Harness], Awaitable[ScriptedMachine]]


async def until_head(harness: Harness) -> ScriptedMachine:
    return await harness.add_machine(AMS, "ams", silent)


async def until_body(harness: Harness) -> ScriptedMachine:
    return await harness.add_machine(AMS, "ams", trickling)


@pytest.mark.parametrize("begin", [until_head, until_body])
@pytest.mark.parametrize("end", [True, False], ids=["complete", "uploading"])
async def test_a_reset_stream_closes_its_machine_connection(
    harness: Harness, begin: Begin, end: bool
) -> None:
    ams = await begin(harness)
    client = await harness.connect_h2()
    leaving, staying = await client.open(end=end), await client.open(end=end)
    await until(lambda: len(ams.requests) == 2)
    await client.reset(leaving)
    await until(lambda: ams.open_connections == 1)
    (trace, *_) = await harness.finished()
    assert trace.outcome == "client_left"
    await client.reset(staying)
    await until(lambda: ams.open_connections == 0)
    await harness.finished(2)
    assert harness.resource_counts() == dict.fromkeys(harness.resource_counts(), 0)


async def test_a_stream_is_reset_while_the_proxy_connects(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", replaying(f"instance={DFW};timeout=200ms"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    with unresponsive_port() as port:
        harness.change(dfw, port=port)
        client = await harness.connect_h2()
        stream = await client.open()
        await until(lambda: harness.resource_counts()["waiting"])
        await client.reset(stream)
        (trace,) = await harness.finished()
    assert trace.outcome == "client_left"
    harness.change(ams, healthy=False)
    harness.change(dfw, port=dfw.server.sockets[0].getsockname()[1] if dfw.server else 0)
    assert (await client.fetch()).status == 200


async def test_a_stream_is_reset_while_the_proxy_waits_to_retry() -> None:
    async with open_harness(realtime=True) as harness:
        ams = await harness.add_machine(AMS, "ams", responding(OK))
        await ams.stop()
        client = await harness.connect_h2()
        stream = await client.open()
        await until(lambda: harness.resource_counts()["wake-ups"])
        await client.reset(stream)
        (trace,) = await harness.finished()
        assert trace.outcome == "client_left"
        await ams.restart()
        assert (await client.fetch()).status == 200
        await until(lambda: not harness.resource_counts()["wake-ups"])
        assert harness.resource_counts()["commands"] == 0


async def test_an_http_2_client_that_disconnects_ends_all_its_streams(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", silent)
    client = await harness.connect_h2()
    for _ in range(20):
        await client.open()
    await until(lambda: len(ams.requests) == 20)
    client.writer.close()
    await until(lambda: ams.open_connections == 0)
    assert {trace.outcome for trace in await harness.finished(20)} == {"client_left"}


async def test_many_clients_connect_and_disconnect(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", trickling)

    async def visit(number: int) -> None:
        client = await harness.connect()
        await client.send(request(path=f"/{number}"))
        if number % 3:
            await client.read_head()
        (client.close, client.reset)[number % 2]()

    await asyncio.gather(*[visit(number) for number in range(200)])
    await until(lambda: not harness.server._clients)
    await until(lambda: ams.open_connections == 0)
    began = len(harness.traces)
    assert {trace.outcome for trace in await harness.finished(began)} <= {"client_left"}


async def test_stopping_the_proxy_closes_all_connections(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", trickling)
    client, h2 = await harness.connect(), await harness.connect_h2()
    await client.send(request())
    await client.read_head()
    stream = await h2.open()
    await h2.wait(lambda: stream.body)
    await harness.server.stop()
    assert b"0\r\n\r\n" not in await client.read_to_end()
    await until(lambda: h2.closed)
    await until(lambda: ams.open_connections == 0)


async def test_clients_connect_while_the_proxy_stops(harness: Harness) -> None:
    coming = [asyncio.create_task(harness.connect()) for _ in range(50)]
    await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
    await harness.server.stop()
    for result in await asyncio.gather(*coming, return_exceptions=True):
        assert isinstance(result, OSError) or await result.read_to_end() == b""
