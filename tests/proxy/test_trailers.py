"""Trailers follow the body through the proxy in each combination of HTTP/1.1 and HTTP/2, also after a replay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, TrailersReceived

from tests.proxy.client import Client, request
from tests.proxy.harness import AMS, DFW, Harness, open_harness
from tests.proxy.machine import Handler, MachineWire
from tests.proxy.test_http2_machine import speaking_http2
from tests.proxy.test_service import app

TE = "te: trailers\r\nconnection: te\r\n"
CHUNKED = "transfer-encoding: chunked\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 2\r\ngrpc-status: 0\r\n\r\n"
SENT, RETURNED = [("x-sum", "1")], [("x-sum", "2"), ("grpc-status", "0")]
REPLAY = f"instance={DFW}"


class Machine:
    """Records the request's trailers, then sends a replay or a response with trailers."""

    def __init__(self, replay: str = "") -> None:
        self.replay = replay
        self.te = ""
        self.body = b""
        self.trailers: list[tuple[str, str]] = []

    async def handle_http1(self, wire: MachineWire) -> None:
        head = await wire.read_request_head()
        self.te = head.get("te") or ""
        size = int((await wire.reader.readline()).strip(), 16)
        self.body = (await wire.read_exactly(size + 2))[:-2]
        if await wire.reader.readline() != b"0\r\n":
            return  # the proxy has given up the request
        while (line := await wire.reader.readline()) != b"\r\n":
            name, _, value = line.decode().strip().partition(": ")
            self.trailers.append((name, value))
        replay = f"HTTP/1.1 200 OK\r\nfly-replay: {self.replay}\r\ncontent-length: 0\r\n\r\n"
        await wire.send(replay.encode() if self.replay else RESPONSE)
        await wire.read_to_end()

    async def handle_http2(self, connection: H2Connection, event: Event, wire: MachineWire) -> None:
        if isinstance(event, RequestReceived):
            self.te = dict(event.headers).get("te", "")
        elif isinstance(event, DataReceived):
            self.body += event.data
        elif isinstance(event, TrailersReceived):
            self.trailers = list(event.headers)
        elif isinstance(event, StreamEnded):
            head = [(":status", "200"), *([("fly-replay", self.replay)] if self.replay else [])]
            connection.send_headers(event.stream_id, head)
            connection.send_data(event.stream_id, b"hello")
            connection.send_headers(event.stream_id, RETURNED, end_stream=True)

    def handler(self, protocol: str) -> Handler:
        return self.handle_http1 if protocol == "http1" else speaking_http2(self.handle_http2)


@pytest.fixture(params=["http1", "http2"])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    """An app whose machines speak this protocol."""
    async with open_harness(app=app(http={"h2_backend": request.param == "http2"})) as harness:
        harness.protocol = request.param  # type: ignore[attr-defined]
        yield harness


async def add_machine(harness: Harness, machine_id: str, region: str, replay: str = "") -> Machine:
    machine = Machine(replay)
    await harness.add_machine(machine_id, region, machine.handler(harness.protocol))  # type: ignore[attr-defined]
    return machine


async def fetch_http1(harness: Harness, headers: str = TE) -> tuple[bytes, list[tuple[str, str]]]:
    """Send a request with trailers. Returns the body of the response and its trailers."""
    client = await harness.connect()
    await client.send(request("POST", headers=CHUNKED + headers) + b"4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n")
    return await read_http1(client)


async def read_http1(client: Client) -> tuple[bytes, list[tuple[str, str]]]:
    head = await client.read_head()
    assert head.status == 200
    body = b""
    while size := int(await client.reader.readline(), 16):
        body += await client.read_exactly(size)
        assert await client.read_exactly(2) == b"\r\n"
    trailers = []
    while (line := await client.reader.readline()) != b"\r\n":
        name, _, value = line.decode().strip().partition(": ")
        trailers.append((name, value))
    return body, trailers


async def fetch_http2(harness: Harness, **more: Any) -> tuple[bytes, list[tuple[str, str]]]:
    client = await harness.connect_h2()
    stream = await client.open("POST", headers=[("te", "trailers")], end=False)
    await client.send_body(stream, b"body", end=False)
    await client.send_trailers(stream, SENT)
    await client.complete(stream)
    assert (stream.status, stream.ended) == (200, True)
    return bytes(stream.body), stream.trailers


FETCH = pytest.mark.parametrize("fetch", [fetch_http1, fetch_http2], ids=["from-http1", "from-http2"])


@FETCH
@pytest.mark.parametrize("replay", ["", REPLAY], ids=["plain", "replayed"])
async def test_trailers_pass_in_both_directions(harness: Harness, fetch: Any, replay: str) -> None:
    ams = await add_machine(harness, AMS, "ams", replay)
    dfw = await add_machine(harness, DFW, "dfw")
    assert await fetch(harness) == (b"hello", RETURNED)
    for machine in (ams, dfw) if replay else (ams,):
        assert (machine.body, machine.trailers, machine.te) == (b"body", SENT, "trailers")
    assert [trace.status for trace in await harness.finished()] == [200]


async def test_an_http1_client_that_did_not_ask_gets_no_trailers(harness: Harness) -> None:
    """RFC 9112, 7.1.2: it might take them for the next response."""
    machine = await add_machine(harness, AMS, "ams")
    assert await fetch_http1(harness, headers="") == (b"hello", [])
    assert (machine.trailers, machine.te) == (SENT, "")


FORGED = "Fly-Client-IP: 1.2.3.4\r\ncontent-length: 9\r\nHost: x\r\nx_forwarded_for: 1\r\nx-sum: 1\r\n"


async def test_trailers_that_belong_in_a_head_are_dropped(harness: Harness) -> None:
    """RFC 9110, 6.5.1: a machine that merges them would take them for the proxy's own fields."""
    machine = await add_machine(harness, AMS, "ams")
    client = await harness.connect()
    await client.send(request("POST", headers=CHUNKED) + f"4\r\nbody\r\n0\r\n{FORGED}\r\n".encode())
    assert (await client.read_response()).status == 200
    assert machine.trailers == SENT


@pytest.mark.parametrize("trailer", [(b"x-a", b"1\r\nx-b: 2"), (b"x a", b"1"), (b":path", b"/other")])
async def test_invalid_trailers_of_an_http2_client_reach_no_machine(
    harness: Harness, trailer: tuple[bytes, bytes]
) -> None:
    machine = await add_machine(harness, AMS, "ams")
    client = await harness.connect_h2()
    client.h2.config.validate_outbound_headers = False
    client.h2.config.normalize_outbound_headers = False
    stream = await client.open("POST", end=False)
    await client.send_body(stream, b"body", end=False)
    await client.send_trailers(stream, [trailer])  # type: ignore[list-item]
    await client.wait(lambda: client.goaway is not None or stream.ended or stream.reset is not None)
    assert machine.trailers == []
    assert client.goaway is not None or stream.status == 400
