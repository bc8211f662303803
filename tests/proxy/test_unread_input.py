"""Closed connections: what was written still arrives, and nothing stays open for a side that does not react.

A socket that is closed with unread input sends RST, and the client's kernel then drops what it has not read yet
(RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy.client import Client, request
from tests.proxy.harness import AMS, Harness, until
from tests.proxy.machine import MachineWire, responding
from tests.proxy.websocket import BINARY, CLOSE, TEXT, accept, close, frame, masked

LARGE = b"x" * 4 * 1024 * 1024
"""More than the kernel buffers for one connection."""
TLS = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


async def send_without_reading(client: Client, data: bytes) -> bytes:
    """Send all of `data` before anything is read. Returns what the proxy sent until it closed."""
    client.pause()
    client.writer.write(data)
    transport = client.writer.transport
    await until(lambda: transport.get_write_buffer_size() == 0 or transport.is_closing())
    client.resume()
    received = b""
    async with asyncio.timeout(10):
        while part := await client.reader.read(65536):  # raises an error if the connection was reset
            received += part
    return received


async def send_forever(client: Client) -> None:
    while True:
        await client.send(b"x")
        await asyncio.sleep(0)


@TLS
async def test_the_response_to_an_invalid_request_arrives_although_more_was_sent(
    harness: Harness, tls: bool
) -> None:
    client = await harness.connect(tls=tls)
    received = await send_without_reading(client, request("GET", "/", "a b: c\r\n") + LARGE)
    assert received.startswith(b"HTTP/1.1 400 ")


@TLS
async def test_the_last_response_arrives_although_requests_follow(harness: Harness, tls: bool) -> None:
    await harness.add_machine(AMS, "ams", responding(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"))
    client = await harness.connect(tls=tls)
    further = request("POST", body=LARGE)
    received = await send_without_reading(client, request(headers="connection: close\r\n") + further)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"ok")


async def test_an_http2_client_gets_the_reason_although_more_was_sent(harness: Harness) -> None:
    client = await harness.connect()
    settings = b"\0\0\0\x04\0\0\0\0\0"
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    received = await send_without_reading(client, preface + settings + LARGE)
    assert received.endswith(b"frame of 7895160 bytes: expected at most 131072"), "the text of the GOAWAY"


async def test_a_websocket_gets_the_last_message_although_it_sends(harness: Harness) -> None:
    last = frame(TEXT, b"bye") + frame(CLOSE, close(1000))
    may_end = asyncio.Event()

    async def say_goodbye(wire: MachineWire) -> None:
        head = await wire.read_request_head()
        await wire.send(accept(head.get("sec-websocket-key") or ""))
        await may_end.wait()
        await wire.send(last)

    await harness.add_machine(AMS, "ams", say_goodbye)
    client, response = await harness.open_websocket()
    assert response.status == 101
    may_end.set()
    assert await send_without_reading(client, masked(BINARY, LARGE)) == last


async def test_a_client_that_sends_without_end_is_disconnected(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.proxy.http.edge_layer.LINGER_SECONDS", 0.1)
    client = await harness.connect()
    await client.send(request("GET", "/", "a b: c\r\n"))
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionError):
            await send_forever(client)


async def test_a_machine_that_reads_nothing_does_not_keep_its_connection_open(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client has left, and what the client sent before cannot be delivered."""
    monkeypatch.setattr("simulator.proxy.transport.flow_control.LINGER_SECONDS", 0.1)
    is_checked = asyncio.Event()

    async def read_nothing(wire: MachineWire) -> None:
        head = await wire.read_request_head()
        wire.pause()
        await wire.send(accept(head.get("sec-websocket-key") or ""))
        await is_checked.wait()
        wire.resume()

    await harness.add_machine(AMS, "ams", read_nothing)
    client, _ = await harness.open_websocket()
    (handler,) = harness.core.handlers.values()
    (to_machine,) = [
        io.writer.transport for key, io in handler.transports.items() if key is not handler.client
    ]
    client.writer.write(masked(BINARY, LARGE)[:10])
    while not to_machine.get_write_buffer_size():
        client.writer.write(bytes(8192))
        await asyncio.sleep(0)
    client.close()
    await until(lambda: to_machine.is_closing())
    assert to_machine.get_write_buffer_size()
    await until(lambda: not to_machine.get_write_buffer_size())
    is_checked.set()
