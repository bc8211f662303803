"""Replays by the `fly-replay` header: decided by the response head, for any shape of response."""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy.client import chunked
from tests.proxy.harness import AMS, DFW, DFW_2, Harness, until
from tests.proxy.machine import OK, Handler, MachineWire, replaying, responding

REPLAY = f"fly-replay: instance={DFW}\r\n"
ENDLESS_SIZE = 16 * 2**20


async def replay_to_dfw(harness: Harness, replaying_machine: Handler) -> None:
    """Send two requests on one connection to a machine that replays: the client gets only the target's responses."""
    ams = await harness.add_machine(AMS, "ams", replaying_machine)
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    for count in (1, 2):
        response = await client.fetch(path=f"/{count}")
        assert (response.status, response.body) == (200, b"hello")
        assert response.all("fly-replay") == []
        assert [request.target for request in ams.requests] == [f"/{n + 1}" for n in range(count)]
        assert [request.target for request in dfw.requests] == [f"/{n + 1}" for n in range(count)]
    assert [trace.path for trace in await harness.finished(2)] == [("ams-1", "dfw-1")] * 2


STATUSES = [200, 201, 202, 204, 301, 302, 304, 307, 400, 401, 404, 409, 421, 500, 503]


@pytest.mark.parametrize("status", STATUSES)
async def test_any_status_replays(harness: Harness, status: int) -> None:
    """F-1.23, K-42: neither the status nor a Location header matters."""
    head = f"HTTP/1.1 {status} Whatever\r\n{REPLAY}location: https://example.com/\r\n"
    end = "\r\n" if status in (204, 304) else "content-length: 3\r\n\r\nabc"
    await replay_to_dfw(harness, responding((head + end).encode()))


@pytest.mark.parametrize("name", ["fly-replay", "Fly-Replay", "FLY-REPLAY", "fLy-rEpLaY"])
async def test_the_header_may_be_in_any_letter_case(harness: Harness, name: str) -> None:
    """F-1.13"""
    await replay_to_dfw(
        harness,
        responding(f"HTTP/1.1 307 x\r\n{name}:instance={DFW}  \r\ncontent-length: 0\r\n\r\n".encode()),
    )


async def test_an_nginx_return_307_response_replays(harness: Harness) -> None:
    """F-1.87: with an empty Location and an error page."""
    page = b"<html>\r\n<head><title>307 Temporary Redirect</title></head>\r\n</html>\r\n"
    head = (
        "HTTP/1.1 307 Temporary Redirect\r\nServer: nginx/1.26.3\r\nDate: Mon, 23 Nov 2026 06:00:00 GMT\r\n"
        f"Content-Type: text/html\r\nContent-Length: {len(page)}\r\nConnection: keep-alive\r\n"
        f"Location: \r\nFly-Replay: instance={DFW}\r\n\r\n"
    )
    await replay_to_dfw(harness, responding(head.encode() + page))


SHAPES: dict[str, tuple[bytes, bool]] = {
    "no body": (b"content-length: 0\r\n\r\n", False),
    "a body": (b"content-length: 14\r\n\r\nredirecting...", False),
    "chunked": (b"transfer-encoding: chunked\r\n\r\n" + chunked(b"redirect", b"ing"), False),
    "chunked, with trailers": (b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\n\r\n", False),
    "connection: close": (b"connection: close\r\ncontent-length: 2\r\n\r\nab", True),
    "read until close": (b"\r\nabc", True),
    "closes in the middle of the body": (b"content-length: 100\r\n\r\nabc", True),
    "closes in the middle of a chunk": (b"transfer-encoding: chunked\r\n\r\n5\r\nab", True),
    "head and close at once": (b"content-length: 0\r\n\r\n", True),
    "broken chunks": (b"transfer-encoding: chunked\r\n\r\nthis is no size\r\n", False),
    "more bytes than announced": (b"content-length: 1\r\n\r\nabc", False),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_replay_works_with_any_framing(harness: Harness, shape: str) -> None:
    """F-1.24: the body is dropped."""
    tail, close = SHAPES[shape]
    await replay_to_dfw(harness, responding(b"HTTP/1.1 307 x\r\n" + REPLAY.encode() + tail, close=close))


async def test_an_http_1_0_machine_may_replay(harness: Harness) -> None:
    response = f"HTTP/1.0 307 x\r\n{REPLAY}\r\nuntil the end".encode()
    await replay_to_dfw(harness, responding(response, close=True))


async def test_an_event_stream_that_never_ends_is_not_waited_for(harness: Harness) -> None:
    async def handler(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(f"HTTP/1.1 200 OK\r\n{REPLAY}content-type: text/event-stream\r\n\r\n".encode())
        await wire.send(b"data: 1\n\n")
        await wire.read_to_end()  # the proxy closes the connection

    await replay_to_dfw(harness, handler)


async def test_a_very_large_body_is_not_waited_for(harness: Harness) -> None:
    sent = 0

    async def handler(wire: MachineWire) -> None:
        nonlocal sent
        await wire.read_request()
        await wire.send(f"HTTP/1.1 200 OK\r\n{REPLAY}content-length: {2**40}\r\n\r\n".encode())
        while sent < ENDLESS_SIZE:
            await wire.send(bytes(65536))
            sent += 65536

    await replay_to_dfw(harness, handler)
    assert sent < ENDLESS_SIZE, "the proxy read the whole body"


async def test_a_replay_whose_head_arrives_byte_by_byte(harness: Harness) -> None:
    async def handler(wire: MachineWire) -> None:
        while True:
            await wire.read_request()
            await wire.send_bytewise(f"HTTP/1.1 307 x\r\n{REPLAY}content-length: 3\r\n\r\nabc".encode())

    await replay_to_dfw(harness, handler)


async def test_no_header_of_the_replaying_response_reaches_the_client(harness: Harness) -> None:
    """F-1.25, K-20: not even Set-Cookie."""
    await harness.add_machine(
        AMS,
        "ams",
        responding(
            f"HTTP/1.1 307 x\r\n{REPLAY}set-cookie: a=b\r\nx-from: ams\r\nlocation: /away\r\n"
            "fly-replay-cache: /*\r\ncontent-length: 0\r\n\r\n".encode()
        ),
    )
    await harness.add_machine(DFW, "dfw", responding(OK))
    response = await (await harness.connect()).fetch()
    names = {name for name, _ in response.fields}
    assert names == {"content-type", "content-length", "server", "via", "fly-request-id"}


async def test_a_replay_by_the_target_is_followed(harness: Harness) -> None:
    """F-1.38"""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    await harness.add_machine(DFW, "dfw", replaying(f"instance={DFW_2}", "409 Conflict"))
    await harness.add_machine(DFW_2, "dfw", responding(OK))
    response = await (await harness.connect()).fetch()
    assert response.body == b"hello"
    (trace,) = await harness.finished()
    assert trace.path == ("ams-1", "dfw-1", "dfw-2")


async def test_the_eleventh_replay_ends_in_pa02(harness: Harness) -> None:
    """F-1.38, F-1.39, F-6.45: ten are followed; replays to the same machine count, too."""
    ams = await harness.add_machine(AMS, "ams", replaying(f"instance={AMS}"))
    response = await (await harness.connect()).fetch()
    assert response.status == 502
    assert len(ams.requests) == 11
    (trace,) = await harness.finished()
    assert trace.error == "PA02"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH", "POST", "PROPFIND"])
async def test_any_method_is_replayed_with_its_target(harness: Harness, method: str) -> None:
    """F-1.26, F-1.27, F-1.31"""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(b"HTTP/1.1 204 No Content\r\n\r\n"))
    response = await (await harness.connect()).fetch(method, "/a%20b/c?d=%2F&e", "x-y: z\r\n")
    assert response.status == 204
    (request,) = dfw.requests
    assert (request.method, request.target, request.get("x-y")) == (method, "/a%20b/c?d=%2F&e", "z")


async def test_a_head_request_is_replayed_although_the_replay_declares_a_body(harness: Harness) -> None:
    await harness.add_machine(
        AMS, "ams", responding(f"HTTP/1.1 307 x\r\n{REPLAY}content-length: 999\r\n\r\n".encode())
    )
    await harness.add_machine(DFW, "dfw", responding(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"))
    client = await harness.connect()
    for _ in range(2):
        assert (await client.fetch("HEAD")).get("content-length") == "5"


@pytest.mark.parametrize("tls", [False, True])
async def test_http_2_requests_are_replayed(harness: Harness, tls: bool) -> None:
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect_h2(tls=tls)
    for _ in range(3):
        response = await client.fetch()
        assert (response.status, bytes(response.body)) == (200, b"hello")
    assert dfw.requests[0].start_line == "GET / HTTP/1.1"


async def test_replays_of_many_concurrent_clients_do_not_mix(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))

    async def echo(wire: MachineWire) -> None:
        while True:
            target = (await wire.read_request()).target.encode()
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(target), target))

    await harness.add_machine(DFW, "dfw", echo)

    async def visit(number: int) -> None:
        client = await harness.connect()
        for turn in range(5):
            assert (await client.fetch(path=f"/{number}/{turn}")).body == f"/{number}/{turn}".encode()

    await asyncio.gather(*[visit(number) for number in range(50)])
    await harness.finished(250)
    await until(lambda: harness.resource_counts()["streams"] == 0)


@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_a_machine_that_replays_and_closes_without_reading_the_body(
    harness: Harness, size: int
) -> None:
    """This resets the connection. The response that arrived before the reset is still a replay."""

    async def handler(wire: MachineWire) -> None:
        await wire.read_request_head()
        wire.pause()
        await wire.send(f"HTTP/1.1 307 x\r\n{REPLAY}content-length: 0\r\n\r\n".encode())

    ams = await harness.add_machine(AMS, "ams", handler)
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    for count in (1, 2, 3):
        assert (await client.fetch("POST", body=bytes(size))).body == b"hello"
        assert len(dfw.requests[-1].body) == size
        assert ams.connections == count
