"""Limits of the control API for bodies, connections and slow clients, and headers of every response."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from simulator.dashboard.connection import Connection
from simulator.dashboard.request_body import MAX_BODY_BYTES
from tests.dashboard.harness import Harness, open_harness

RESET, CLOCK = "/_flysim/reset", "/_flysim/clock"
JSON = {"Content-Type": "application/json"}


class Raw:
    """One connection, without an HTTP client that would repair or hide anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and header fields, with lower-case names."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode("latin-1")
        status, *fields = head.strip().split("\r\n")
        return int(status.split()[1]), {
            name.lower(): value for name, _, value in (each.partition(": ") for each in fields)
        }

    async def is_closed(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(), 5) is not None
        except ConnectionError:
            return True


async def connect(port: int, sent: bytes) -> Raw:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    return Raw(reader, writer)


@pytest.fixture
async def raw(harness: Harness) -> AsyncIterator[Raw]:
    connection = await connect(harness.port, b"")
    yield connection
    connection.writer.close()


def head(target: str, *fields: str) -> bytes:
    return "".join(
        f"{line}\r\n" for line in (f"POST {target} HTTP/1.1", "Host: 127.0.0.1", *fields, "")
    ).encode()


@pytest.mark.parametrize("target", [CLOCK, RESET, "/nowhere"])
async def test_a_body_that_declares_too_many_bytes_is_refused_before_it_is_sent(
    raw: Raw, target: str, harness: Harness
) -> None:
    """An endpoint that ignores its body, and a path that does not exist, are no exceptions."""
    raw.writer.write(head(target, "Content-Type: application/json", "Content-Length: 300000000"))
    status, fields = await raw.head()

    assert (status, fields["connection"]) == (413, "close")
    assert await raw.is_closed()
    assert harness.simulator.resets == 0


async def test_a_chunked_body_is_refused_once_it_is_too_large_and_the_rest_is_not_read(raw: Raw) -> None:
    raw.writer.write(head(CLOCK, "Content-Type: application/json", "Transfer-Encoding: chunked"))
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    for _ in range(MAX_BODY_BYTES // 0x10000):
        raw.writer.write(chunk)
    await raw.writer.drain()
    raw.writer.write(b"1\r\n \r\n")  # One byte more than allowed; the body goes on.

    status, fields = await raw.head()
    assert (status, fields["connection"]) == (413, "close")
    assert await raw.is_closed()


async def test_a_body_of_the_largest_size_is_accepted(harness: Harness) -> None:
    body = json.dumps({"advance": "1s"}).encode().ljust(MAX_BODY_BYTES)
    response = await harness.client.post(CLOCK, content=body, headers=JSON)
    assert response.status_code == 200, response.text
    response = await harness.client.post(CLOCK, content=body + b" ", headers=JSON)
    assert response.status_code == 413
    assert response.json() == {"error": "the body has 1048577 bytes; expected at most 1048576"}


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        (None, 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonp", 415),
    ],
)
@pytest.mark.parametrize("target", [CLOCK, RESET])
async def test_a_body_must_be_declared_as_json(
    harness: Harness, target: str, media_type: str | None, status: int
) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    response = await harness.client.post(target, content=b'{"advance": "1s"}', headers=headers)
    assert response.status_code == status
    if status == 415:
        assert response.json()["error"] == (
            f"Content-Type is {media_type or 'missing'}; expected application/json for a body"
        )


@pytest.mark.parametrize("fields", [(), ("Content-Length: 0",), ("Transfer-Encoding: chunked",)])
async def test_an_empty_body_needs_no_media_type(raw: Raw, fields: tuple[str, ...]) -> None:
    raw.writer.write(head(RESET, *fields) + (b"0\r\n\r\n" if "Transfer-Encoding: chunked" in fields else b""))
    status, _ = await raw.head()
    assert status == 200


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            b"{",
            "the body is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2",
        ),
        (
            b'{"advance": "\xff"}',
            "the body is not valid JSON: 'utf-8' codec can't decode byte 0xff in position 13",
        ),
        (b"[" * 9999, "the body is not valid JSON: its values are nested too deeply"),
        (b"[1]", "the body is b'[1]'; expected a JSON object"),
    ],
)
async def test_malformed_json_is_refused_with_the_place(harness: Harness, body: bytes, problem: str) -> None:
    response = await harness.client.post(CLOCK, content=body, headers=JSON)
    assert response.status_code == 400
    assert response.json()["error"].startswith(problem)
    assert "expected a JSON object" in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/?token=x", {}, 303),
        ("GET", "/_flysim/status", {}, 200),
        ("GET", "/_flysim/logs", {}, 200),
        ("GET", "/nowhere", {}, 404),
        ("PUT", "/", {}, 405),
        ("GET", "/_flysim/status", {"Host": "rebound.example"}, 403),
        ("POST", RESET, {"Content-Length": "9999999"}, 413),
        ("GET", "/v1/apps/none/machines", {}, 404),
        ("GET", "/bad header", {}, 400),
    ],
)
async def test_every_response_has_the_security_headers(
    raw: Raw, method: str, target: str, headers: dict[str, str], status: int
) -> None:
    fields = {"Host": "127.0.0.1"} | headers
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    raw.writer.write("\r\n".join(lines).encode())

    found, received = await raw.head()
    assert found == status
    assert received["x-content-type-options"] == "nosniff"
    assert received["cross-origin-resource-policy"] == "same-origin"
    assert received["referrer-policy"] == "no-referrer"
    assert received["x-frame-options"] == "DENY"


async def test_a_live_stream_has_the_security_headers(harness: Harness) -> None:
    async with harness.client.stream("GET", "/_flysim/events") as response:
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_client_that_sends_no_head_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "head_seconds", 0.05)
    async with open_harness() as harness:
        for sent in (b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HT"):
            slow = await connect(harness.port, sent)
            assert await slow.is_closed(), sent
            slow.writer.close()


async def test_a_live_stream_outlives_the_limit_for_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "head_seconds", 0.05)
    async with open_harness(heartbeat_seconds=0.02) as harness:
        async with harness.client.stream("GET", "/_flysim/events") as response:
            heartbeats = 0
            async for line in response.aiter_lines():
                heartbeats += line == ": heartbeat"
                if heartbeats == 6:  # 0.12 s
                    break
        assert heartbeats == 6


async def test_more_connections_than_the_limit_are_closed_and_others_keep_working(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Connection, "max_connections", 3)
    async with open_harness() as harness:
        assert (await harness.client.get("/_flysim/ready")).status_code == 200
        idle = [await connect(harness.port, b"GET /") for _ in range(2)]
        refused = await connect(harness.port, b"")

        assert await refused.is_closed()
        assert (await harness.client.get("/_flysim/ready")).status_code == 200
        for connection in (*idle, refused):
            connection.writer.close()
        async with asyncio.timeout(5):
            while not await is_served(harness.port):
                pass


async def is_served(port: int) -> bool:
    connection = await connect(port, head(RESET))
    try:
        return (await connection.head())[0] == 200
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    finally:
        connection.writer.close()
