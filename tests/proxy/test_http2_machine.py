"""Machines that speak HTTP/2 (`h2_backend`): resets, GOAWAY, windows and reuse of their connections (F-9.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded

from simulator.proxy.http.http2 import MAX_BACKLOG_PIECES
from tests.proxy.client import request
from tests.proxy.harness import AMS, Harness, open_harness, until
from tests.proxy.machine import OK, Handler, MachineWire, responding
from tests.proxy.test_service import app

Respond = Callable[[H2Connection, Any, MachineWire], Awaitable[None]]


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with open_harness(app=app(http={"h2_backend": True})) as harness:
        yield harness


def speaking_http2(on_event: Callable[[H2Connection, Event, MachineWire], Awaitable[None]]) -> Handler:
    async def handler(wire: MachineWire) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.config.validate_outbound_headers = False
        connection.initiate_connection()
        data = b""
        while True:
            for event in connection.receive_data(data):
                await on_event(connection, event, wire)
            await wire.send(connection.data_to_send())
            data = await wire.reader.read(65536)
            if not data:
                return

    return handler


def responding_by(respond: Respond) -> Handler:
    async def on_event(connection: H2Connection, event: Event, wire: MachineWire) -> None:
        if isinstance(event, RequestReceived):
            await respond(connection, event, wire)

    return speaking_http2(on_event)


def send_response(connection: H2Connection, stream_id: int, body: bytes = b"", *, status: int = 200) -> None:
    connection.send_headers(stream_id, [(":status", str(status))])
    connection.send_data(stream_id, body, end_stream=True)


async def respond_early(connection: H2Connection, event: Any, wire: MachineWire) -> None:
    """Respond before the request's body is read."""
    send_response(connection, event.stream_id, b"early")


def goaway(last_stream: int) -> bytes:
    return b"\0\0\x08\x07\0\0\0\0\0" + last_stream.to_bytes(4, "big") + bytes(4)


def are_machines_idle(harness: Harness) -> bool:
    return all(
        getattr(side, "is_idle", True) for edge in harness.layers() for side in edge.connections.values()
    )


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
async def test_a_machine_that_replays_to_itself_gets_another_stream(harness: Harness, version: str) -> None:
    async def replay_once(connection: H2Connection, event: Any, wire: MachineWire) -> None:
        if event.stream_id % 4 == 1:
            connection.send_headers(
                event.stream_id, [(":status", "307"), ("fly-replay", "app=streams")], end_stream=True
            )
        else:
            send_response(connection, event.stream_id, b"here")

    ams = await harness.add_machine(AMS, "ams", responding_by(replay_once))
    client = await (harness.connect() if version == "HTTP/1.1" else harness.connect_h2())
    for _ in range(2):
        assert bytes((await client.fetch()).body) == b"here"
    assert ams.connections == 1


async def test_each_response_is_paused_while_the_clients_windows_are_closed(harness: Harness) -> None:
    async def on_event(connection: H2Connection, event: Event, wire: MachineWire) -> None:
        if isinstance(event, RequestReceived):
            connection.send_headers(event.stream_id, [(":status", "200")], end_stream=event.stream_id == 1)
        elif isinstance(event, StreamEnded) and event.stream_id == 3:
            for _ in range(400):
                connection.send_data(3, bytes(16384))

    await harness.add_machine(AMS, "ams", speaking_http2(on_event))
    client = await harness.connect_h2(window=65535)
    assert (await client.fetch()).status == 200
    client.manual = True
    await client.open()
    await until(lambda: harness.buffered_responses() >= 2**20)
    await asyncio.sleep(0.1)
    assert harness.buffered_responses() < (MAX_BACKLOG_PIECES + 8) * 16384


async def test_a_response_is_completed_after_a_goaway_without_an_error(harness: Harness) -> None:
    """RFC 9113, 6.8: streams up to the last stream id are completed; then the connection is replaced."""

    async def respond(connection: H2Connection, event: Any, wire: MachineWire) -> None:
        await wire.send(connection.data_to_send() + goaway(event.stream_id))
        connection.send_headers(event.stream_id, [(":status", "200")])
        await wire.send(connection.data_to_send())
        await asyncio.sleep(0.02)
        connection.send_data(event.stream_id, b"done", end_stream=True)

    ams = await harness.add_machine(AMS, "ams", responding_by(respond))
    client = await harness.connect()
    for _ in range(2):
        assert (await client.fetch()).body == b"done"
    assert ams.connections == 2


async def test_a_request_that_a_goaway_excludes_is_sent_on_another_connection(harness: Harness) -> None:
    async def respond(connection: H2Connection, event: Any, wire: MachineWire) -> None:
        if event.stream_id == 1:
            send_response(connection, event.stream_id, b"%d" % wire.number)
        else:
            await wire.send(connection.data_to_send() + goaway(1))

    ams = await harness.add_machine(AMS, "ams", responding_by(respond))
    client = await harness.connect()
    assert [(await client.fetch()).body for _ in range(2)] == [b"1", b"2"]
    assert ams.connections == 2


@pytest.mark.parametrize("status", [204, 304])
async def test_a_body_where_none_is_allowed_is_not_relayed(harness: Harness, status: int) -> None:
    """RFC 9112, 6.3: an HTTP/1 client would read it as its next response."""

    async def respond(connection: H2Connection, event: Any, wire: MachineWire) -> None:
        send_response(connection, event.stream_id, OK, status=status)

    await harness.add_machine(AMS, "ams", responding_by(respond))
    client = await harness.connect()
    for _ in range(2):
        assert (await client.fetch()).status == status


async def test_a_response_without_a_body_keeps_the_connection_open(harness: Harness) -> None:
    """Only the stream's end tells that there is no body; an HTTP/1 client needs a length."""

    async def respond(connection: H2Connection, event: Any, wire: MachineWire) -> None:
        connection.send_headers(event.stream_id, [(":status", "200")], end_stream=True)

    await harness.add_machine(AMS, "ams", responding_by(respond))
    client = await harness.connect()
    for _ in range(2):
        response = await client.fetch()
        assert (response.get("content-length"), response.get("connection")) == ("0", None)
    assert (await client.fetch("HEAD")).get("content-length") is None


async def test_a_connection_is_reused_after_a_response_that_came_before_the_request_was_read(
    harness: Harness,
) -> None:
    release = asyncio.Event()
    answered: set[int] = set()

    async def on_event(connection: H2Connection, event: Event, wire: MachineWire) -> None:
        if not isinstance(event, DataReceived):
            return
        if event.stream_id not in answered:
            await release.wait()  # so far, only a part of the request fits into its window
            answered.add(event.stream_id)
            send_response(connection, event.stream_id, b"early")
        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def is_upload_complete() -> bool:
        streams = [stream for edge in harness.layers() for stream in edge.streams.values()]
        return bool(streams) and all(stream._body.is_complete for stream in streams)

    ams = await harness.add_machine(AMS, "ams", speaking_http2(on_event))
    client = await harness.connect()
    for _ in range(3):
        release.clear()
        await client.send(request("POST", body=bytes(300_000)))
        await until(is_upload_complete)
        release.set()
        assert (await client.read_response()).body == b"early"
        await until(lambda: are_machines_idle(harness))
    assert ams.connections == 1


async def test_connections_whose_machine_never_reads_the_request_are_bounded(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding_by(respond_early))
    client = await harness.connect()
    for _ in range(30):
        assert (await client.fetch("POST", body=bytes(100_000))).body == b"early"
    await until(lambda: harness.resource_counts()["machine connections"] <= 16)


async def test_nothing_is_left_of_a_connection_that_is_closed(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding_by(respond_early))
    client = await harness.connect()
    for _ in range(3):
        await client.send(request("POST", headers="content-length: 10\r\n"))
        assert (await client.read_response()).body == b"early"
        await client.send(bytes(10))
    await until(lambda: not any(harness.resource_counts().values()), lambda: str(harness.resource_counts()))


async def test_each_request_to_a_machine_without_http2_fails(harness: Harness) -> None:
    """The second one too: its stream id differs between the client's connection and the machine's."""
    await harness.add_machine(AMS, "ams", responding(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    client = await harness.connect()
    for _ in range(2):
        assert (await client.fetch()).status == 502
