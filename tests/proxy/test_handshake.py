"""WebSocket handshakes: replayed for any shape of response; the client sees only the last machine's handshake."""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy import websocket as ws
from tests.proxy.harness import AMS, DFW, DFW_2, Harness, until
from tests.proxy.machine import MachineWire, accepting, echoing, responding

REPLAY = f"fly-replay: instance={DFW}\r\n"
HELLO = ws.frame(ws.TEXT, b"hello from dallas")

RESPONSES: dict[str, tuple[bytes, bool]] = {
    "101 and close": (f"HTTP/1.1 101 Switching Protocols\r\n{REPLAY}\r\n".encode(), True),
    "101 and no close": (f"HTTP/1.1 101 Switching Protocols\r\n{REPLAY}\r\n".encode(), False),
    "101 with a full handshake": (ws.accept(headers=REPLAY), False),
    "101 with a full handshake and close": (ws.accept(headers=REPLAY), True),
    "101 with a full handshake and frames": (ws.accept(headers=REPLAY) + ws.frame(ws.TEXT, b"wrong"), False),
    "101 with frames, a close frame and close": (
        ws.accept(headers=REPLAY) + ws.frame(ws.TEXT, b"wrong") + ws.frame(ws.CLOSE, ws.close(1012)),
        True,
    ),
    "200": (f"HTTP/1.1 200 OK\r\n{REPLAY}content-length: 2\r\n\r\nok".encode(), False),
    "204": (f"HTTP/1.1 204 No Content\r\n{REPLAY}\r\n".encode(), False),
    "307": (f"HTTP/1.1 307 x\r\n{REPLAY}content-length: 14\r\n\r\nredirecting...".encode(), False),
    "307 from nginx": (f"HTTP/1.1 307 x\r\n{REPLAY}Location: \r\nContent-Length: 1\r\n\r\nx".encode(), False),
    "400": (f"HTTP/1.1 400 Bad Request\r\n{REPLAY}content-length: 0\r\n\r\n".encode(), False),
    "403, chunked": (
        f"HTTP/1.1 403 x\r\n{REPLAY}transfer-encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        False,
    ),
    "404": (f"HTTP/1.1 404 Not Found\r\n{REPLAY}content-length: 9\r\n\r\nnot found".encode(), False),
    "409": (f"HTTP/1.1 409 Conflict\r\n{REPLAY}content-length: 0\r\n\r\n".encode(), False),
    "307 and close": (f"HTTP/1.1 307 x\r\n{REPLAY}Connection: close\r\n\r\n".encode(), True),
    "426 with upgrade headers": (
        f"HTTP/1.1 426 x\r\n{REPLAY}Connection: Upgrade\r\nUpgrade: websocket\r\ncontent-length: 0\r\n\r\n".encode(),
        False,
    ),
}


OVER_TLS = ["101 and close", "101 with frames, a close frame and close", "307"]


@pytest.mark.parametrize(
    ("shape", "tls"), [*[(shape, False) for shape in RESPONSES], *[(shape, True) for shape in OVER_TLS]]
)
async def test_the_client_sees_only_the_last_machines_handshake(
    harness: Harness, shape: str, tls: bool
) -> None:
    """F-12.4, F-1.85 to F-1.91, K-13"""
    response, close = RESPONSES[shape]
    await harness.add_machine(AMS, "ams", responding(response, close=close))
    dfw = await harness.add_machine(DFW, "dfw", accepting(early=HELLO))
    client, handshake = await harness.open_websocket(tls=tls)
    assert handshake.status == 101
    assert handshake.get("sec-websocket-accept") == ws.accept_key(ws.KEY)
    assert handshake.get("upgrade") == "websocket"
    assert await client.read_exactly(len(HELLO)) == HELLO
    (request,) = dfw.requests
    assert (request.get("upgrade"), request.get("sec-websocket-key")) == ("websocket", ws.KEY)
    assert (request.get("connection") or "").lower() == "upgrade"
    (trace,) = await harness.answered()
    assert (trace.path, trace.websocket) == (("ams-1", "dfw-1"), True)


async def test_an_upgrade_may_be_replayed_several_times(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(f"HTTP/1.1 101 x\r\n{REPLAY}\r\n".encode(), close=True))
    to_third = f"HTTP/1.1 409 x\r\nfly-replay: instance={DFW_2}\r\ncontent-length: 0\r\n\r\n".encode()
    await harness.add_machine(DFW, "dfw", responding(to_third))
    await harness.add_machine(DFW_2, "dfw", echoing())
    client, handshake = await harness.open_websocket()
    assert handshake.status == 101
    await client.send(HELLO)
    assert await client.read_exactly(len(HELLO)) == HELLO


@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
async def test_a_replaying_machine_that_closes_late_does_not_affect_the_new_websocket(
    harness: Harness, full: bool
) -> None:
    """F-1.30: the replaying machine closes only after the new handshake; the client must not notice."""
    close_now = asyncio.Event()

    async def replay_and_linger(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(ws.accept(headers=REPLAY) if full else f"HTTP/1.1 101 x\r\n{REPLAY}\r\n".encode())
        await close_now.wait()
        wire.writer.write(ws.frame(ws.CLOSE, ws.close(1001)))

    ams = await harness.add_machine(AMS, "ams", replay_and_linger)
    await harness.add_machine(DFW, "dfw", echoing())
    client, handshake = await harness.open_websocket()
    assert handshake.status == 101
    close_now.set()
    await until(lambda: ams.open_connections == 0)
    for _ in range(3):
        await client.send(ws.masked(ws.TEXT, b"still here"))
        assert await client.read_exactly(16) == ws.masked(ws.TEXT, b"still here")


async def test_the_deflate_extension_is_negotiated_end_to_end(harness: Harness) -> None:
    offer = "permessage-deflate; client_max_window_bits"
    agreed = "permessage-deflate; server_no_context_takeover"

    async def handler(wire: MachineWire) -> None:
        request = await wire.read_request_head()
        assert request.get("sec-websocket-extensions") == offer
        assert request.get("sec-websocket-protocol") == "chat, superchat"
        headers = f"Sec-WebSocket-Extensions: {agreed}\r\nSec-WebSocket-Protocol: superchat\r\n"
        await wire.send(ws.accept(headers=headers))
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", handler)
    client = await harness.connect()
    await client.send(
        ws.upgrade(
            headers=f"Sec-WebSocket-Extensions: {offer}\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
        )
    )
    handshake = await client.read_head()
    assert handshake.get("sec-websocket-extensions") == agreed
    assert handshake.get("sec-websocket-protocol") == "superchat"


async def test_frames_sent_directly_after_the_handshake_reach_the_last_machine(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(f"HTTP/1.1 101 x\r\n{REPLAY}\r\n".encode(), close=True))
    await harness.add_machine(DFW, "dfw", echoing())
    client = await harness.connect()
    early = ws.masked(ws.TEXT, b"early")
    await client.send(ws.upgrade() + early)
    assert (await client.read_head()).status == 101
    assert await client.read_exactly(len(early)) == early


async def test_a_handshake_and_frames_sent_byte_by_byte(harness: Harness) -> None:
    async def talk(wire: MachineWire) -> None:
        await wire.send_bytewise(HELLO)
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", accepting(talk))
    client = await harness.connect()
    await client.send_bytewise(ws.upgrade())
    assert (await client.read_head()).status == 101
    assert await client.read_exactly(len(HELLO)) == HELLO


async def test_an_upgrade_that_the_last_machine_declines_is_relayed(harness: Harness) -> None:
    response = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno"
    await harness.add_machine(AMS, "ams", responding(response))
    client = await harness.connect()
    for _ in range(2):
        await client.send(ws.upgrade())
        response = await client.read_response()
        assert (response.status, response.body) == (400, b"no")
    (trace, _) = await harness.finished(2)
    assert not trace.websocket


async def test_a_websocket_after_plain_requests_on_the_same_connection(harness: Harness) -> None:
    async def handler(wire: MachineWire) -> None:
        request = await wire.read_request_head()
        if request.get("upgrade") is None:
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
            request = await wire.read_request_head()
        await wire.send(ws.accept() + HELLO)
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", handler)
    client = await harness.connect()
    assert (await client.fetch()).body == b"hello"
    await client.send(ws.upgrade())
    assert (await client.read_head()).status == 101
    assert await client.read_exactly(len(HELLO)) == HELLO


async def test_a_machine_that_closes_before_its_handshake_ends_in_pu02(harness: Harness) -> None:
    """F-6.12"""
    await harness.add_machine(AMS, "ams", responding(b"", close=True))
    client = await harness.connect()
    await client.send(ws.upgrade())
    assert (await client.read_response()).status == 502
    (trace,) = await harness.finished()
    assert trace.error == "PU02"


async def test_an_upgrade_before_the_end_of_the_request_fails(harness: Harness) -> None:
    """RFC 9110, 7.8: what follows would be the rest of the body and frames, which no machine could tell apart."""
    await harness.add_machine(AMS, "ams", accepting())
    client = await harness.connect()
    head = ws.upgrade().removesuffix(b"\r\n") + b"transfer-encoding: chunked\r\n\r\n"
    await client.send(head + b"a\r\nhalf")
    assert (await client.read_head()).status == 502
