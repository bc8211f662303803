"""HTTP/2 clients with machines that speak HTTP/1.1."""

from __future__ import annotations

import asyncio

from tests.proxy.client import chunked
from tests.proxy.harness import AMS, DFW, Harness, until
from tests.proxy.machine import OK, echoing_target, replaying, responding


async def test_http_2_pseudo_headers_and_cookies_are_converted_to_http_1(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect_h2()
    await client.fetch(path="/p?q", headers=[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")])
    (message,) = ams.requests
    assert message.start_line == "GET /p?q HTTP/1.1"
    assert (message.get("host"), message.get("cookie"), message.get("x")) == (
        "streams.fly.dev",
        "a=1; b=2",
        "y",
    )
    assert not any(name.startswith(":") for name, _ in message.fields)


async def test_http_1_headers_that_http_2_forbids_are_removed(harness: Harness) -> None:
    """RFC 9113, 8.2.2: browsers close the connection if they get one; Apache sends Upgrade in every response."""
    await harness.add_machine(
        AMS,
        "ams",
        responding(
            b"HTTP/1.1 200 OK\r\nConnection: Upgrade, Keep-Alive\r\nUpgrade: h2,h2c\r\nKeep-Alive: timeout=5\r\n"
            b"Proxy-Connection: keep-alive\r\nX-Mixed-Case: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunked(b"hello")
        ),
    )
    stream = await (await harness.connect_h2()).fetch()
    assert (stream.status, bytes(stream.body), stream.reset) == (200, b"hello", None)
    names = {name for name, _ in stream.fields}
    assert names == {":status", "x-mixed-case", "server", "via", "fly-request-id"}


async def test_a_101_response_to_an_http_2_client_fails(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"))
    stream = await (await harness.connect_h2()).fetch()
    assert stream.status == 502


async def test_many_concurrent_streams_on_one_connection(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    await harness.add_machine(DFW, "dfw", echoing_target)
    client = await harness.connect_h2()
    paths = [f"/{number}" for number in range(300)]
    responses = await asyncio.gather(*[client.fetch(path=path) for path in paths])
    assert [bytes(response.body).decode() for response in responses] == paths
    await harness.finished(300)
    assert harness.resource_counts()["streams"] == 0


async def test_a_refused_http_2_request_leaves_nothing_behind(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect_h2()
    stream = await client.open("POST", headers=[("content-length", "1"), ("x y", "z")], end=False)
    await client.wait(lambda: stream.ended or stream.reset is not None or client.goaway is not None)
    await until(lambda: harness.resource_counts()["streams"] == 0)


async def test_a_101_response_with_a_replay_is_replayed_over_http_2(harness: Harness) -> None:
    """F-1.23: the status does not matter."""
    replay = f"HTTP/1.1 101 Switching Protocols\r\nfly-replay: instance={DFW}\r\n\r\n"
    await harness.add_machine(AMS, "ams", responding(replay.encode(), close=True))
    await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect_h2()
    for _ in range(3):
        assert bytes((await client.fetch()).body) == b"hello"
