"""HTTP versions, TLS, ALPN and pipelining on one port, and requests and responses of every form."""

from __future__ import annotations

import asyncio
import ssl

import httpx
import pytest

from tests.proxy.client import Client, chunked, request, tls_context
from tests.proxy.harness import AMS, DFW, Harness
from tests.proxy.machine import OK, MachineWire, echoing_target, replaying, responding

# One port for everything.


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
async def test_a_regular_client_of_either_version(harness: Harness, version: str, tls: bool) -> None:
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    h2 = version == "HTTP/2"
    context = ssl._create_unverified_context() if tls else False
    url = harness.url("/a?b=c", scheme="https" if tls else "http")
    async with httpx.AsyncClient(http1=tls or not h2, http2=h2, verify=context) as client:
        for _ in range(2):
            response = await client.post(url, content=b"body", headers={"host": "streams.fly.dev"})
            assert (response.status_code, response.text, response.http_version) == (200, "hello", version)
    assert dfw.requests[0].start_line == "POST /a?b=c HTTP/1.1"
    assert dfw.requests[0].body == b"body"


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
async def test_alpn_selects_the_version(harness: Harness, protocol: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", harness.port(), ssl=tls_context(protocol))
    harness.clients.append(Client(reader, writer))
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == protocol


async def test_tls_without_alpn_or_server_name_uses_http_1(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(OK))
    context = ssl._create_unverified_context()
    client = Client(*await asyncio.open_connection("127.0.0.1", harness.port(), ssl=context))
    harness.clients.append(client)
    assert (await client.fetch()).body == b"hello"


async def test_all_kinds_of_clients_at_once_on_one_port(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", echoing_target)

    async def h1(number: int, tls: bool) -> None:
        client = await harness.connect(tls=tls)
        for turn in range(5):
            assert (await client.fetch(path=f"/{number}/{turn}")).body == b"/%d/%d" % (number, turn)

    async def h2(number: int, tls: bool) -> None:
        client = await harness.connect_h2(tls=tls)
        paths = [f"/{number}/{turn}" for turn in range(20)]
        responses = await asyncio.gather(*[client.fetch(path=path) for path in paths])
        assert [bytes(response.body).decode() for response in responses] == paths

    kinds = [kind(number, tls) for number in range(5) for kind in (h1, h2) for tls in (False, True)]
    await asyncio.gather(*kinds)


# Requests and responses of every form.


async def test_pipelined_requests_are_answered_in_order(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", echoing_target)
    client = await harness.connect()
    body = request("POST", "/post", body=b"GET / HTTP/1.1\r\n\r\n")
    await client.send(b"".join(request(path=f"/{number}") for number in range(50)) + body)
    responses = [(await client.read_response()).body for _ in range(51)]
    assert responses == [b"/%d" % number for number in range(50)] + [b"/post"]


async def test_pipelined_requests_that_are_replayed(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    await harness.add_machine(DFW, "dfw", echoing_target)
    client = await harness.connect()
    await client.send(b"".join(request(path=f"/{number}") for number in range(20)))
    assert [(await client.read_response()).body for _ in range(20)] == [b"/%d" % n for n in range(20)]


@pytest.mark.parametrize("headers", ["", "connection: keep-alive\r\n"])
async def test_an_http_1_0_client(harness: Harness, headers: str) -> None:
    ams = await harness.add_machine(
        AMS, "ams", responding(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"hello"))
    )
    client = await harness.connect()
    await client.send(f"GET /old HTTP/1.0\r\n{headers}\r\n".encode())
    response = await client.read_response(until_close=True)
    assert response.start_line == "HTTP/1.0 200 OK"
    assert (response.get("transfer-encoding"), response.body) == (None, b"hello")
    assert ams.requests[0].start_line == "GET /old HTTP/1.1"


async def test_connection_close_from_a_client_closes_its_connection(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    response = await client.fetch(headers="connection: close\r\n")
    assert response.body == b"hello"
    assert await client.is_closed()
    assert ams.requests[0].get("connection") is None


async def test_a_head_request_gets_no_body(harness: Harness) -> None:
    for machine_id, region, framing in (
        (AMS, "ams", "content-length: 5"),
        (DFW, "dfw", "transfer-encoding: chunked"),
    ):
        await harness.add_machine(
            machine_id, region, responding(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        )
        client, h2 = await harness.connect(region), await harness.connect_h2(region)
        for _ in range(2):
            response = await client.fetch("HEAD")
            assert response.head.decode().count(framing) == 1
            stream = await h2.fetch("HEAD")
            assert (stream.status, bytes(stream.body)) == (200, b"")


@pytest.mark.parametrize("status", [204, 304])
async def test_responses_without_a_body(harness: Harness, status: int) -> None:
    ams = await harness.add_machine(
        AMS, "ams", responding(f"HTTP/1.1 {status} x\r\netag: a\r\n\r\n".encode())
    )
    client, h2 = await harness.connect(), await harness.connect_h2()
    for _ in range(3):
        response = await client.fetch()
        assert (response.status, response.get("etag"), response.get("transfer-encoding")) == (
            status,
            "a",
            None,
        )
        assert (await h2.fetch()).status == status
    assert ams.connections == 2


@pytest.mark.parametrize("apart", [False, True], ids=["in one packet", "byte by byte"])
@pytest.mark.parametrize("interim", ["103 Early Hints", "102 Processing", "100 Continue"])
async def test_interim_responses_are_not_mistaken_for_the_final_one(
    harness: Harness, interim: str, apart: bool
) -> None:
    head = f"HTTP/1.1 {interim}\r\nlink: </style.css>; rel=preload\r\n\r\n".encode()

    async def handler(wire: MachineWire) -> None:
        while True:
            await wire.read_request()
            await (wire.send_bytewise if apart else wire.send)(head + head + OK)

    ams = await harness.add_machine(AMS, "ams", handler)
    client, h2 = await harness.connect(), await harness.connect_h2()
    for _ in range(2):
        response = await client.fetch()
        assert (response.status, response.body) == (200, b"hello")
        assert bytes((await h2.fetch()).body) == b"hello"
    assert ams.connections == 2


async def test_an_interim_response_before_a_replay(harness: Harness) -> None:
    replay = f"HTTP/1.1 307 x\r\nfly-replay: instance={DFW}\r\ncontent-length: 0\r\n\r\n"
    await harness.add_machine(AMS, "ams", responding(b"HTTP/1.1 103 Early Hints\r\n\r\n" + replay.encode()))
    await harness.add_machine(DFW, "dfw", responding(OK))
    assert (await (await harness.connect()).fetch()).body == b"hello"


async def test_an_absolute_target_goes_to_the_machine_as_a_path(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    assert (await client.fetch(path="http://streams.fly.dev/a?b")).status == 200
    assert (ams.requests[0].target, ams.requests[0].get("host")) == ("/a?b", "streams.fly.dev")


async def test_an_options_request_for_the_whole_server(harness: Harness) -> None:
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    assert (await (await harness.connect()).fetch("OPTIONS", "*")).status == 200
    assert ams.requests[0].start_line == "OPTIONS * HTTP/1.1"


async def test_header_fields_keep_their_order_case_and_duplicates(harness: Harness) -> None:
    ams = await harness.add_machine(
        AMS,
        "ams",
        responding(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-B: 1\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n"
        ),
    )
    client = await harness.connect()
    response = await client.fetch(headers="X-A: 1\r\nx-b: \r\nX-A: 2\r\nX-C: caf\u00e9\r\n")
    assert b"X-A: 1\r\nx-b: \r\nX-A: 2\r\nX-C: caf\xc3\xa9\r\n" in ams.requests[0].head
    assert response.head.startswith(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-B: 1\r\nset-cookie: b\r\nContent-Length: 0\r\n"
    )
