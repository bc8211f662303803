"""HTTP in all its forms: versions, TLS, framing, odd requests, and bytes that are no HTTP at all."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import httpx
import pytest

from tests.proxy.client import Client, chunked, request, tls_context
from tests.proxy.machine import OK, MachineWire, answering, replaying
from tests.proxy.stage import AMS, DFW, Stage, until


async def echo_target(wire: MachineWire) -> None:
    while True:
        target = (await wire.read_request()).target.encode()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(target), target))


# One port for everything.


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
async def test_an_ordinary_client_of_either_version(stage: Stage, version: str, tls: bool) -> None:
    await stage.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await stage.add_machine(DFW, "dfw", answering(OK))
    h2 = version == "HTTP/2"
    context = ssl._create_unverified_context() if tls else False
    url = stage.url("/a?b=c", scheme="https" if tls else "http")
    async with httpx.AsyncClient(http1=tls or not h2, http2=h2, verify=context) as client:
        for _ in range(2):
            answer = await client.post(url, content=b"body", headers={"host": "streams.fly.dev"})
            assert (answer.status_code, answer.text, answer.http_version) == (200, "hello", version)
    assert dfw.requests[0].start_line == "POST /a?b=c HTTP/1.1"
    assert dfw.requests[0].body == b"body"


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
async def test_alpn_chooses_the_version(stage: Stage, protocol: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port(), ssl=tls_context(protocol))
    stage.clients.append(Client(reader, writer))
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == protocol


async def test_tls_without_alpn_or_a_server_name_is_http_1(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", answering(OK))
    context = ssl._create_unverified_context()
    client = Client(*await asyncio.open_connection("127.0.0.1", stage.port(), ssl=context))
    stage.clients.append(client)
    assert (await client.ask()).body == b"hello"


async def test_all_kinds_of_clients_at_once_on_one_port(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", echo_target)

    async def h1(number: int, tls: bool) -> None:
        client = await stage.connect(tls=tls)
        for turn in range(5):
            assert (await client.ask(path=f"/{number}/{turn}")).body == b"/%d/%d" % (number, turn)

    async def h2(number: int, tls: bool) -> None:
        client = await stage.connect_h2(tls=tls)
        paths = [f"/{number}/{turn}" for turn in range(20)]
        answers = await asyncio.gather(*[client.ask(path=path) for path in paths])
        assert [bytes(answer.body).decode() for answer in answers] == paths

    kinds = [kind(number, tls) for number in range(5) for kind in (h1, h2) for tls in (False, True)]
    await asyncio.gather(*kinds)


# The first packets.


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 14, 15, 20])
async def test_a_request_split_after_any_byte(stage: Stage, size: int) -> None:
    await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect()
    data = request()
    await client.send(data[:size])
    await until(lambda: stage.server._clients)
    await client.send(data[size:])
    assert (await client.read_response()).body == b"hello"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 13, 14, 23])
async def test_an_http_2_preface_split_after_any_byte(stage: Stage, size: int) -> None:
    await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect_h2(start=False)
    client.h2.initiate_connection()
    data = client.h2.data_to_send()
    assert data.startswith(PREFACE)
    client.writer.write(data[:size])
    await until(lambda: stage.server._clients)
    for _ in range(20):
        await asyncio.sleep(0)
    client.writer.write(data[size:])
    client.listen()
    assert bytes((await client.ask()).body) == b"hello"


async def test_a_tls_hello_byte_by_byte(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", answering(OK))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context("http/1.1").wrap_bio(incoming, outgoing)
    raw = await stage.connect()
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await raw.send_apart(outgoing.read())
            incoming.write(await raw.read_some())
    tls.write(request())
    await raw.send_apart(outgoing.read())
    answer = b""
    while not answer.endswith(b"hello"):
        incoming.write(await raw.read_some())
        with suppress(ssl.SSLWantReadError):
            while True:
                answer += tls.read(65536)
    assert answer.startswith(b"HTTP/1.1 200")


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
    ("which", "tls"), [*[(which, False) for which in GARBAGE], ("words", True), ("CONNECT", True)]
)
async def test_what_is_no_proper_request_is_refused_and_reaches_no_machine(
    stage: Stage, which: str, tls: bool
) -> None:
    ams = await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect(tls=tls)
    await client.send(GARBAGE[which])
    rest = await client.rest()
    assert rest.startswith(b"HTTP/1.1 400 ")
    assert rest.count(b"HTTP/1.1") == 1
    assert ams.connections == 0
    assert stage.traces == ()


async def test_blank_lines_before_a_request_are_nothing(stage: Stage) -> None:
    """RFC 9112, 2.2"""
    await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect()
    for _ in range(3):
        await client.send(b"\r\n\r\n" + request())
        assert (await client.read_response()).body == b"hello"


async def test_garbage_without_end_is_not_kept(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect()
    client.writer.write(b"x" * 2**20)
    assert (await client.rest()).startswith(b"HTTP/1.1 431 ")


async def test_a_head_of_300_kilobytes_is_too_large(stage: Stage) -> None:
    """F-10.12: Fly documents no limit; ours is 256 KiB."""
    ams = await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect()
    assert (await client.ask(headers=f"x-large: {'x' * 200_000}\r\n")).status == 200
    client.writer.write(request(headers=f"x-large: {'x' * 300_000}\r\n"))
    assert (await client.rest()).startswith(b"HTTP/1.1 431 ")
    assert len(ams.requests) == 1


async def test_large_heads_over_http_2(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect_h2()
    assert (await client.ask(headers=[("x-large", "x" * 10_000)])).status == 200
    many = [(f"x-large-{number}", "x" * 10_000) for number in range(20)]
    assert (await client.ask(headers=many)).status == 200


async def test_a_large_head_from_a_machine(stage: Stage) -> None:
    def head(size: int) -> bytes:
        return b"HTTP/1.1 200 OK\r\nx-large: " + b"x" * size + b"\r\ncontent-length: 0\r\n\r\n"

    await stage.add_machine(AMS, "ams", answering(head(200_000)))
    await stage.add_machine(DFW, "dfw", answering(head(20_000)))
    assert len((await (await stage.connect()).ask()).get("x-large") or "") == 200_000
    assert len((await (await stage.connect_h2("dfw")).ask()).get("x-large") or "") == 20_000


# Requests of every form.


async def test_pipelined_requests_are_answered_in_order(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", echo_target)
    client = await stage.connect()
    body = request("POST", "/post", body=b"GET / HTTP/1.1\r\n\r\n")
    await client.send(b"".join(request(path=f"/{number}") for number in range(50)) + body)
    answers = [(await client.read_response()).body for _ in range(51)]
    assert answers == [b"/%d" % number for number in range(50)] + [b"/post"]


async def test_pipelined_requests_that_are_replayed(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    await stage.add_machine(DFW, "dfw", echo_target)
    client = await stage.connect()
    await client.send(b"".join(request(path=f"/{number}") for number in range(20)))
    assert [(await client.read_response()).body for _ in range(20)] == [b"/%d" % n for n in range(20)]


@pytest.mark.parametrize("headers", ["", "connection: keep-alive\r\n"])
async def test_an_http_1_0_client(stage: Stage, headers: str) -> None:
    ams = await stage.add_machine(
        AMS, "ams", answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"hello"))
    )
    client = await stage.connect()
    await client.send(f"GET /old HTTP/1.0\r\n{headers}\r\n".encode())
    answer = await client.read_response(until_close=True)
    assert answer.start_line == "HTTP/1.0 200 OK"
    assert (answer.get("transfer-encoding"), answer.body) == (None, b"hello")
    assert ams.requests[0].start_line == "GET /old HTTP/1.1"


async def test_a_client_that_wants_its_connection_closed(stage: Stage) -> None:
    ams = await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect()
    answer = await client.ask(headers="connection: close\r\n")
    assert answer.body == b"hello"
    assert await client.is_closed()
    assert ams.requests[0].get("connection") is None


async def test_a_head_request(stage: Stage) -> None:
    for machine_id, region, framing in (
        (AMS, "ams", "content-length: 5"),
        (DFW, "dfw", "transfer-encoding: chunked"),
    ):
        await stage.add_machine(
            machine_id, region, answering(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        )
        client, h2 = await stage.connect(region), await stage.connect_h2(region)
        for _ in range(2):
            answer = await client.ask("HEAD")
            assert answer.head.decode().count(framing) == 1
            stream = await h2.ask("HEAD")
            assert (stream.status, bytes(stream.body)) == (200, b"")


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(stage: Stage, status: int) -> None:
    ams = await stage.add_machine(AMS, "ams", answering(f"HTTP/1.1 {status} x\r\netag: a\r\n\r\n".encode()))
    client, h2 = await stage.connect(), await stage.connect_h2()
    for _ in range(3):
        answer = await client.ask()
        assert (answer.status, answer.get("etag"), answer.get("transfer-encoding")) == (status, "a", None)
        assert (await h2.ask()).status == status
    assert ams.connections == 2


@pytest.mark.parametrize("apart", [False, True], ids=["in one packet", "byte by byte"])
@pytest.mark.parametrize("interim", ["103 Early Hints", "102 Processing", "100 Continue"])
async def test_interim_answers_are_not_taken_for_the_final_one(
    stage: Stage, interim: str, apart: bool
) -> None:
    head = f"HTTP/1.1 {interim}\r\nlink: </style.css>; rel=preload\r\n\r\n".encode()

    async def handler(wire: MachineWire) -> None:
        while True:
            await wire.read_request()
            await (wire.send_apart if apart else wire.send)(head + head + OK)

    ams = await stage.add_machine(AMS, "ams", handler)
    client, h2 = await stage.connect(), await stage.connect_h2()
    for _ in range(2):
        answer = await client.ask()
        assert (answer.status, answer.body) == (200, b"hello")
        assert bytes((await h2.ask()).body) == b"hello"
    assert ams.connections == 2


async def test_an_interim_answer_before_a_replay(stage: Stage) -> None:
    replay = f"HTTP/1.1 307 x\r\nfly-replay: instance={DFW}\r\ncontent-length: 0\r\n\r\n"
    await stage.add_machine(AMS, "ams", answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" + replay.encode()))
    await stage.add_machine(DFW, "dfw", answering(OK))
    assert (await (await stage.connect()).ask()).body == b"hello"


async def test_an_absolute_target_goes_to_the_machine_as_a_path(stage: Stage) -> None:
    ams = await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect()
    assert (await client.ask(path="http://streams.fly.dev/a?b")).status == 200
    assert (ams.requests[0].target, ams.requests[0].get("host")) == ("/a?b", "streams.fly.dev")


async def test_options_for_the_whole_server(stage: Stage) -> None:
    ams = await stage.add_machine(AMS, "ams", answering(OK))
    assert (await (await stage.connect()).ask("OPTIONS", "*")).status == 200
    assert ams.requests[0].start_line == "OPTIONS * HTTP/1.1"


async def test_header_fields_keep_their_order_case_and_repetitions(stage: Stage) -> None:
    ams = await stage.add_machine(
        AMS,
        "ams",
        answering(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-B: 1\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n"
        ),
    )
    client = await stage.connect()
    answer = await client.ask(headers="X-A: 1\r\nx-b: \r\nX-A: 2\r\nX-C: caf\u00e9\r\n")
    assert b"X-A: 1\r\nx-b: \r\nX-A: 2\r\nX-C: caf\xc3\xa9\r\n" in ams.requests[0].head
    assert answer.head.startswith(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-B: 1\r\nset-cookie: b\r\nContent-Length: 0\r\n"
    )


# HTTP/2 towards HTTP/1.1.


async def test_http_2_pseudo_headers_and_cookies_become_those_of_http_1(stage: Stage) -> None:
    ams = await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect_h2()
    await client.ask(path="/p?q", headers=[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")])
    (message,) = ams.requests
    assert message.start_line == "GET /p?q HTTP/1.1"
    assert (message.get("host"), message.get("cookie"), message.get("x")) == (
        "streams.fly.dev",
        "a=1; b=2",
        "y",
    )
    assert not any(name.startswith(":") for name, _ in message.fields)


async def test_no_header_of_http_1_that_http_2_forbids_reaches_its_client(stage: Stage) -> None:
    """RFC 9113, 8.2.2: a browser ends the connection over one of them; Apache sends Upgrade with each answer."""
    await stage.add_machine(
        AMS,
        "ams",
        answering(
            b"HTTP/1.1 200 OK\r\nConnection: Upgrade, Keep-Alive\r\nUpgrade: h2,h2c\r\nKeep-Alive: timeout=5\r\n"
            b"Proxy-Connection: keep-alive\r\nX-Mixed-Case: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunked(b"hello")
        ),
    )
    stream = await (await stage.connect_h2()).ask()
    assert (stream.status, bytes(stream.body), stream.reset) == (200, b"hello", None)
    names = {name for name, _ in stream.fields}
    assert names == {":status", "x-mixed-case", "server", "via", "fly-request-id"}


async def test_a_machine_that_switches_protocols_under_http_2_is_a_failure(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", answering(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"))
    stream = await (await stage.connect_h2()).ask()
    assert stream.status == 502


async def test_many_streams_at_once_over_one_connection(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    await stage.add_machine(DFW, "dfw", echo_target)
    client = await stage.connect_h2()
    paths = [f"/{number}" for number in range(300)]
    answers = await asyncio.gather(*[client.ask(path=path) for path in paths])
    assert [bytes(answer.body).decode() for answer in answers] == paths
    await stage.finished(300)
    assert stage.remembered()["streams"] == 0


async def test_an_http_2_request_that_is_refused_leaves_nothing(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", answering(OK))
    client = await stage.connect_h2()
    stream = await client.open("POST", headers=[("content-length", "1"), ("x y", "z")], end=False)
    await client.wait(lambda: stream.ended or stream.reset is not None or client.goaway is not None)
    await until(lambda: stage.remembered()["streams"] == 0)
