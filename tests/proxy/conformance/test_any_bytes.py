"""Property of the proxy for any bytes: what a machine receives is flawless, and no more than the client sent."""

from __future__ import annotations

import asyncio
import re
from functools import reduce
from itertools import pairwise

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.proxy.conformance.natural_reading import requests_in
from tests.proxy.conformance.raw_http2 import converse, data, headers
from tests.proxy.conformance.strict_machine import Received, StrictMachine, parse_requests
from tests.proxy.harness import AMS, Harness, open_harness

_ADDED = re.compile(
    rb"host|via|transfer-encoding|x-request-start|x-forwarded-(for|proto|port|ssl)"
    rb"|fly-(client-ip|forwarded-(port|proto|ssl)|region|request-id|traceparent|tracestate)"
)
"""The fields that the proxy adds (facts, section 4); Transfer-Encoding for an HTTP/2 body (RFC 9113, 8.2.2)."""
_REQUESTS = (
    b"GET /a HTTP/1.1\r\nHost: web.test\r\nX-A: b\r\n\r\n",
    b"GET http://other.test/b?c HTTP/1.1\r\nHost: web.test\r\nConnection: x-a\r\nX-A: b\r\n\r\n",
    b"HEAD /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: web.test\r\nfly-replay-src: a=b\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: web.test\r\nContent-Length: 24\r\n\r\nGET /stolen HTTP/1.1\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n5;e=f\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: web.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
)
_PIECES = (
    *[bytes([byte]) for byte in b'\x00\t\n\x0b\x0c\r\x1b "#,-/0159:;=?@_{\x7f\x80\xff'],
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b" HTTP/1.1",
)
_LINES = (
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b" Transfer-Encoding: chunked\r\n",
    b"Host: other.test\r\n",
    b"Connection: close, host\r\n",
    b"fly_replay_src: a=b\r\n",
    b"0\r\n\r\n",
    b"GET /stolen HTTP/1.1\r\nHost: web.test\r\n\r\n",
)


@st.composite
def _bytes_around_requests(draw: st.DrawFn) -> bytes:
    """One to three requests with up to three changes: bytes anywhere, or lines between others."""
    sent = b"".join(draw(st.lists(st.sampled_from(_REQUESTS), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            starts = [match.end() for match in re.finditer(rb"\r\n", sent)]
            start = end = draw(st.sampled_from(starts or [0]))
            piece = draw(st.sampled_from(_LINES))
        else:
            start = draw(st.integers(0, len(sent)))
            end = start + draw(st.sampled_from((0, 0, 0, 1, 2, 10)))
            piece = draw(st.sampled_from(_PIECES) | st.binary(max_size=4))
        sent = sent[:start] + piece + sent[end:]
    return sent


@settings(max_examples=200, deadline=None, derandomize=True)
@given(sent=_bytes_around_requests(), cuts=st.lists(st.integers(0, 400), max_size=2))
def test_http1(sent: bytes, cuts: list[int]) -> None:
    """RFC 9112, 11.2: the machine reads the requests that the client sent, whatever it sent."""
    delivered = asyncio.run(_exchange(sent, cuts))
    expected = requests_in(sent)
    complete = [(request.line.split(b" ")[0], request.body) for request in delivered if request.is_complete]
    event(f"{len(complete)} of {len(expected)} requests delivered")
    assert complete == [(request.method, request.body) for request in expected][: len(complete)]
    check_names(delivered, sent)


async def _exchange(sent: bytes, cuts: list[int]) -> list[Received]:
    async with open_harness() as harness:
        machine = StrictMachine()
        await harness.add_machine(AMS, "ams", machine.handler())
        client = await harness.connect()
        positions = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
        for start, end in pairwise(positions):
            client.writer.write(sent[start:end])
            await asyncio.sleep(0)
        return await _requests(harness, machine)


async def _requests(harness: Harness, machine: StrictMachine) -> list[Received]:
    """What the machine received, once further requests on another connection do not change it."""
    other = await harness.connect()
    before, requests = None, _without_barrier(machine)
    while requests != before:
        before = requests
        for _ in range(3):
            assert (await other.fetch(path="/barrier")).status == 200
        requests = _without_barrier(machine)
    return requests


def _without_barrier(machine: StrictMachine) -> list[Received]:
    requests = [
        request
        for received in machine.connections
        for request in parse_requests(bytes(received), is_growing=True)
    ]
    return [request for request in requests if b" /barrier " not in request.line]


def check_names(requests: list[Received], sent: bytes) -> None:
    for request in requests:
        names = [name.lower() for name, _ in request.fields]
        assert [name for name in names if not _ADDED.fullmatch(name) and name not in sent.lower()] == []
        assert b"fly-replay-src" not in [name.replace(b"_", b"-") for name in names]


_NAMES = st.sampled_from(
    (b"x-a", b"cookie", b"host", b"content-length", b"connection", b"te", b"fly-replay-src")
)
_ANY = st.binary(max_size=12) | st.sampled_from((b"trailers", b"5", b"web.test", b"a\r\nb: c", b"", b" a"))
_FIELD = st.tuples(_NAMES | st.binary(max_size=8), _ANY)
_PSEUDO = st.tuples(st.sampled_from((b":method", b":scheme", b":authority", b":path", b":status")), _ANY)


def _pseudo(method: bytes) -> list[tuple[bytes, bytes]]:
    return [(b":method", method), (b":scheme", b"http"), (b":authority", b"web.test"), (b":path", b"/a")]


@st.composite
def _header_list(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """The pseudo-header fields of a valid request, with at most one change, and any fields."""
    fields = [
        *_pseudo(draw(st.sampled_from((b"GET", b"POST", b"OPTIONS")))),
        *draw(st.lists(_FIELD, max_size=2)),
    ]
    changes = draw(st.lists(st.tuples(st.integers(0, 6), _PSEUDO | st.none()), max_size=1))
    return reduce(_change, changes, fields)


def _change(
    fields: list[tuple[bytes, bytes]], change: tuple[int, tuple[bytes, bytes] | None]
) -> list[tuple[bytes, bytes]]:
    position, field = change
    return [*fields[:position], *([field] if field else []), *fields[position + 1 :]]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lists=st.lists(_header_list(), min_size=1, max_size=3), body=st.none() | st.binary(max_size=8))
def test_http2(lists: list[list[tuple[bytes, bytes]]], body: bytes | None) -> None:
    """RFC 9113, 8.2.1 and 10.3: at most one request for each stream, and nothing that the client did not send."""
    delivered = asyncio.run(_exchange_http2(lists, body))
    event(f"{len(delivered)} of {len(lists)} requests delivered")
    assert len(delivered) <= len(lists)
    assert all(request.body == (body or b"") for request in delivered if request.is_complete)
    sent = [field for fields in lists for field in fields]
    check_names(delivered, b"\n".join(name for name, _ in sent))
    values = {value for _, value in sent} | {_cookie(fields) for fields in lists}
    for request in delivered:
        changed = [name for name, value in request.fields if value not in values]
        assert [name for name in changed if not _ADDED.fullmatch(name.lower())] == []


def _cookie(fields: list[tuple[bytes, bytes]]) -> bytes:
    """RFC 9113, 8.2.3"""
    return b"; ".join(value for name, value in fields if name == b"cookie")


async def _exchange_http2(lists: list[list[tuple[bytes, bytes]]], body: bytes | None) -> list[Received]:
    async with open_harness() as harness:
        machine = StrictMachine()
        await harness.add_machine(AMS, "ams", machine.handler())
        sent = b""
        for stream, fields in zip(range(1, 7, 2), lists, strict=False):
            sent += headers(fields, stream=stream, end=body is None)
            sent += data(body, stream=stream) if body is not None else b""
        reader, writer = await harness._open("ams", None)
        await converse(reader, writer, sent)
        requests = await _requests(harness, machine)
        writer.close()
        return requests
