"""HTTP/2 clients with machines that speak HTTP/1.1."""

from __future__ import annotations

import asyncio

from h2.settings import SettingCodes

from simulator.proxy.http.http2 import (
    UPLOAD_WINDOW_BYTES,
    UPLOAD_WINDOW_OF_CONNECTION_BYTES,
    Http2ClientConnection,
)
from simulator.proxy.transport.flow_control import READ_BYTES
from tests.proxy.client import chunked
from tests.proxy.harness import AMS, DFW, Harness, until
from tests.proxy.machine import OK, MachineWire, echoing_target, replaying, responding


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


class Uploads:
    """A machine that reads no body of a request for `/stuck` before `release`."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, wire: MachineWire) -> None:
        head = await wire.read_request_head()
        if head.target == "/stuck":
            wire.pause()
            await self.release.wait()
            wire.resume()
            await wire.read_to_end()
            return
        await wire.read_body(head)
        await wire.send(OK)


async def test_an_upload_that_its_machine_does_not_read_does_not_block_others(harness: Harness) -> None:
    machine = Uploads()
    await harness.add_machine(AMS, "ams", machine)
    client = await harness.connect_h2()
    stuck = await client.open("POST", "/stuck", end=False)
    upload = asyncio.ensure_future(client.send_body(stuck, bytes(32 * UPLOAD_WINDOW_BYTES)))
    await until(lambda: harness.unsent_to_machines() > 4 * READ_BYTES)
    stream = await client.fetch("POST", body=bytes(3 * UPLOAD_WINDOW_BYTES))
    assert stream.status == 200
    assert not upload.done()
    upload.cancel()
    machine.release.set()


async def test_the_uploads_of_one_client_share_a_window(harness: Harness) -> None:
    """Without it, 1000 streams could fill 1 MiB each."""
    client = await harness.connect_h2()
    await client.wait(lambda: client.h2.outbound_flow_control_window == UPLOAD_WINDOW_OF_CONNECTION_BYTES)


async def test_uploads_that_are_reset_leave_nothing_in_the_shared_window(harness: Harness) -> None:
    machine = Uploads()
    await harness.add_machine(AMS, "ams", machine)
    client = await harness.connect_h2()
    for _ in range(2 * UPLOAD_WINDOW_OF_CONNECTION_BYTES // UPLOAD_WINDOW_BYTES):
        stream = await client.open("POST", "/stuck", end=False)
        await client.send_body(stream, bytes(UPLOAD_WINDOW_BYTES), end=False)
        await client.reset(stream)
    stream = await client.fetch("POST", body=bytes(UPLOAD_WINDOW_BYTES))
    assert stream.status == 200
    await until(lambda: harness.unsent_to_machines() == 0)  # what no machine will read is dropped
    machine.release.set()


async def test_a_body_in_many_small_frames_arrives_complete(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect_h2()
    stream = await client.open("POST", end=False)
    body = bytes(range(250)) * 20
    for position in range(len(body)):
        client.h2.send_data(stream.id, body[position : position + 1])
    client.h2.end_stream(stream.id)
    await client.flush()
    assert (await client.complete(stream)).status == 200
    assert ams.requests[0].body == body


async def test_responses_that_one_client_does_not_read_share_a_limit(harness: Harness) -> None:
    """Of each response only a piece is kept, if there are many."""
    size, count = 2**20, 150
    await harness.add_machine(
        AMS, "ams", responding(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))
    )
    client = await harness.connect_h2(window=0)
    streams = [await client.open() for _ in range(count)]
    await until(
        lambda: sum(len(handler._waiting) for handler in harness.server._clients.values() if handler) == count
    )
    assert harness.buffered_responses() <= 2 * count * READ_BYTES
    client.manual = True
    for stream in streams:
        client.h2.increment_flow_control_window(size, stream.id)
    client.h2.increment_flow_control_window(size * count)
    await client.flush()
    await client.wait(lambda: all(stream.ended for stream in streams))
    assert {stream.received for stream in streams} == {size}


async def test_a_client_may_make_the_window_of_a_response_negative(harness: Harness) -> None:
    """RFC 9113, 6.9.2: a smaller initial window also reduces those of open streams, by more than they have left."""
    proceed = asyncio.Event()

    async def send_in_two_pieces(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + bytes(30_000))
        await proceed.wait()
        await wire.send(bytes(30_000))
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", send_in_two_pieces)
    client = await harness.connect_h2(window=65_535)
    client.manual = True
    stream = await client.open()
    await client.wait(lambda: stream.received == 30_000)
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    await client.flush()
    await until(lambda: client.h2.local_settings.initial_window_size == 10)
    proceed.set()
    await until(lambda: harness.buffered_responses() == 30_000)
    client.h2.increment_flow_control_window(60_000, stream.id)
    await client.flush()
    await client.complete(stream)
    assert (stream.received, stream.reset) == (60_000, None)


async def test_requests_in_one_packet_with_a_goaway_are_all_answered(harness: Harness) -> None:
    """The proxy rejects the first one at once; the others are still to be processed then."""
    client = await harness.connect_h2()
    flush, packet = client.writer.write, bytearray()
    client.writer.write = packet.extend  # type: ignore[method-assign]
    streams = [await client.open() for _ in range(3)]
    flush(bytes(packet) + b"\0\0\x08\x07" + bytes(13))
    for stream in streams:
        await client.complete(stream)
    await until(lambda: client.closed)


async def test_nothing_is_kept_of_streams_that_the_client_read_slowly(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect_h2(window=2)
    for _ in range(10):
        assert bytes((await client.fetch()).body) == b"hello"
    (edge,) = harness.layers()
    side = edge.connections[edge.context.client]
    assert isinstance(side, Http2ClientConnection)
    await until(lambda: not side.streams)
