"""Protocol detection from the first bytes of a connection, and invalid requests."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import pytest

from simulator.proxy.http.message_head import MAX_FIELDS
from tests.proxy.client import request, tls_context
from tests.proxy.conformance.http2_cases import ENHANCE_YOUR_CALM
from tests.proxy.harness import AMS, DFW, Harness, assert_proxy_response, until
from tests.proxy.machine import OK, responding

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 14, 15, 20])
async def test_a_request_split_after_any_byte(harness: Harness, size: int) -> None:
    await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    data = request()
    await client.send(data[:size])
    await until(lambda: harness.server._clients)
    await client.send(data[size:])
    assert (await client.read_response()).body == b"hello"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 13, 14, 23])
async def test_an_http_2_preface_split_after_any_byte(harness: Harness, size: int) -> None:
    await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect_h2(start=False)
    client.h2.initiate_connection()
    data = client.h2.data_to_send()
    assert data.startswith(PREFACE)
    client.writer.write(data[:size])
    await until(lambda: harness.server._clients)
    for _ in range(20):
        await asyncio.sleep(0)
    client.writer.write(data[size:])
    client.listen()
    assert bytes((await client.fetch()).body) == b"hello"


async def test_a_tls_client_hello_sent_byte_by_byte(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(OK))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context("http/1.1").wrap_bio(incoming, outgoing)
    raw = await harness.connect()
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await raw.send_bytewise(outgoing.read())
            incoming.write(await raw.read_some())
    tls.write(request())
    await raw.send_bytewise(outgoing.read())
    response = b""
    while not response.endswith(b"hello"):
        incoming.write(await raw.read_some())
        with suppress(ssl.SSLWantReadError):
            while True:
                response += tls.read(65536)
    assert response.startswith(b"HTTP/1.1 200")


GARBAGE = {
    "bytes": bytes(range(128, 256)) + b"\r\n\r\n",
    "words": b"hello there how are you\r\n\r\n",
    "half a request line": b"GET /\r\n\r\n",
    "no version": b"GET / HTCPCP/1.0\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nhost\r\n\r\n",
    "a header name with a space": b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "length and chunks": (
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a length that is no number": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na",
    "an unknown coding": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "CONNECT": b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n",
}


@pytest.mark.parametrize(
    ("case", "tls"), [*[(case, False) for case in GARBAGE], ("words", True), ("CONNECT", True)]
)
async def test_an_invalid_request_is_refused_and_reaches_no_machine(
    harness: Harness, case: str, tls: bool
) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect(tls=tls)
    await client.send(GARBAGE[case])
    data = await client.read_to_end()
    assert data.startswith(b"HTTP/1.1 400 ")
    assert data.count(b"HTTP/1.1") == 1
    assert ams.connections == 0
    assert harness.traces == ()


async def test_empty_lines_before_a_request_are_ignored(harness: Harness) -> None:
    """RFC 9112, 2.2"""
    await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    for _ in range(3):
        await client.send(b"\r\n\r\n" + request())
        assert (await client.read_response()).body == b"hello"


async def test_an_endless_request_head_is_refused(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    client.writer.write(b"x" * 2**20)
    assert (await client.read_to_end()).startswith(b"HTTP/1.1 414 ")


async def test_a_request_head_of_300_kilobytes_is_too_large(harness: Harness) -> None:
    """F-10.12: Fly documents no limit; ours is 256 KiB."""
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    assert (await client.fetch(headers=f"x-large: {'x' * 200_000}\r\n")).status == 200
    client.writer.write(request(headers=f"x-large: {'x' * 300_000}\r\n"))
    assert (await client.read_to_end()).startswith(b"HTTP/1.1 431 ")
    assert len(ams.requests) == 1


async def test_large_request_heads_over_http_2_pass(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect_h2()
    assert (await client.fetch(headers=[("x-large", "x" * 10_000)])).status == 200
    many = [(f"x-large-{number}", "x" * 10_000) for number in range(20)]
    assert (await client.fetch(headers=many)).status == 200


async def test_a_large_response_head_passes(harness: Harness) -> None:
    def head(size: int) -> bytes:
        return b"HTTP/1.1 200 OK\r\nx-large: " + b"x" * size + b"\r\ncontent-length: 0\r\n\r\n"

    await harness.add_machine(AMS, "ams", responding(head(200_000)))
    await harness.add_machine(DFW, "dfw", responding(head(20_000)))
    assert len((await (await harness.connect()).fetch()).get("x-large") or "") == 200_000
    assert len((await (await harness.connect_h2("dfw")).fetch()).get("x-large") or "") == 20_000


async def test_a_head_with_more_than_500_fields_is_refused(harness: Harness) -> None:
    """F-10.12: Fly documents no limit. Each field costs time, even an empty one."""
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    own = 1  # Host
    assert (await client.fetch(headers="a:\r\n" * (MAX_FIELDS - own))).status == 200
    await client.send(request(headers="a:\r\n" * MAX_FIELDS))
    assert (await client.read_to_end()).startswith(b"HTTP/1.1 431 ")
    assert len(ams.requests) == 1


async def test_a_response_with_more_than_500_fields_is_invalid(harness: Harness) -> None:
    """F-10.12"""
    fields = b"a:\r\n" * MAX_FIELDS
    await harness.add_machine(AMS, "ams", responding(b"HTTP/1.1 200 OK\r\n" + fields + b"b:\r\n\r\n"))
    response = await (await harness.connect()).fetch()
    assert_proxy_response(response)


async def test_an_http_2_request_with_more_than_500_fields_ends_the_connection(harness: Harness) -> None:
    """F-10.12: h2 has decoded all of them before flysim can count them, so there is no second time."""
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect_h2()
    pseudo = 4
    assert (await client.fetch(headers=[("a", "")] * (MAX_FIELDS - pseudo))).status == 200
    await client.open(headers=[("a", "")] * MAX_FIELDS)
    await until(lambda: client.closed)
    assert client.goaway == ENHANCE_YOUR_CALM
    assert len(ams.requests) == 1
