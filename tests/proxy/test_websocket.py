"""WebSockets: handshakes are replayed whatever the answer looks like; after the last one, bytes pass unchanged."""

from __future__ import annotations

import asyncio
import random
import zlib

import pytest

from tests.proxy import websocket as ws
from tests.proxy.client import Client
from tests.proxy.machine import Handler, MachineWire, answering
from tests.proxy.stage import AMS, DFW, DFW_2, Stage, until
from tests.proxy.wire import Message

REPLAY = f"fly-replay: instance={DFW}\r\n"
HELLO = ws.frame(ws.TEXT, b"hello from dallas")


def accepting(then: Handler | None = None, *, early: bytes = b"") -> Handler:
    """A machine that accepts the handshake, with `early` in the same packet, and goes on with `then`."""

    async def handler(wire: MachineWire) -> None:
        request = await wire.read_request_head()
        await wire.send(ws.accept(request.get("sec-websocket-key") or "") + early)
        await (then(wire) if then else wire.rest())

    return handler


def echoing() -> Handler:
    """Accepts, then sends every byte back."""

    async def echo(wire: MachineWire) -> None:
        while data := await wire.reader.read(65536):
            await wire.send(data)

    return accepting(echo)


async def open_socket(stage: Stage, *, tls: bool = False, edge: str = "ams") -> tuple[Client, Message]:
    client = await stage.connect(edge, tls=tls)
    await client.send(ws.upgrade())
    return client, await client.read_head()


ANSWERS: dict[str, tuple[bytes, bool]] = {
    "101 and hang-up": (f"HTTP/1.1 101 Switching Protocols\r\n{REPLAY}\r\n".encode(), True),
    "101 and no hang-up": (f"HTTP/1.1 101 Switching Protocols\r\n{REPLAY}\r\n".encode(), False),
    "101 with a full handshake": (ws.accept(headers=REPLAY), False),
    "101 with a full handshake and hang-up": (ws.accept(headers=REPLAY), True),
    "101 with a full handshake and frames": (ws.accept(headers=REPLAY) + ws.frame(ws.TEXT, b"wrong"), False),
    "101 with frames, a close and hang-up": (
        ws.accept(headers=REPLAY) + ws.frame(ws.TEXT, b"wrong") + ws.frame(ws.CLOSE, ws.close(1012)),
        True,
    ),
    "200": (f"HTTP/1.1 200 OK\r\n{REPLAY}content-length: 2\r\n\r\nok".encode(), False),
    "204": (f"HTTP/1.1 204 No Content\r\n{REPLAY}\r\n".encode(), False),
    "307": (f"HTTP/1.1 307 x\r\n{REPLAY}content-length: 14\r\n\r\nredirecting...".encode(), False),
    "307 of nginx": (f"HTTP/1.1 307 x\r\n{REPLAY}Location: \r\nContent-Length: 1\r\n\r\nx".encode(), False),
    "400": (f"HTTP/1.1 400 Bad Request\r\n{REPLAY}content-length: 0\r\n\r\n".encode(), False),
    "403, chunked": (
        f"HTTP/1.1 403 x\r\n{REPLAY}transfer-encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        False,
    ),
    "404": (f"HTTP/1.1 404 Not Found\r\n{REPLAY}content-length: 9\r\n\r\nnot found".encode(), False),
    "409": (f"HTTP/1.1 409 Conflict\r\n{REPLAY}content-length: 0\r\n\r\n".encode(), False),
    "307 on the raw socket": (f"HTTP/1.1 307 x\r\n{REPLAY}Connection: close\r\n\r\n".encode(), True),
    "an upgrade kept in the answer": (
        f"HTTP/1.1 426 x\r\n{REPLAY}Connection: Upgrade\r\nUpgrade: websocket\r\ncontent-length: 0\r\n\r\n".encode(),
        False,
    ),
}


OVER_TLS = ["101 and hang-up", "101 with frames, a close and hang-up", "307"]


@pytest.mark.parametrize(
    ("shape", "tls"), [*[(shape, False) for shape in ANSWERS], *[(shape, True) for shape in OVER_TLS]]
)
async def test_the_client_sees_one_handshake_that_of_the_last_machine(
    stage: Stage, shape: str, tls: bool
) -> None:
    """F-1.85 to F-1.91, K-13"""
    answer, close = ANSWERS[shape]
    await stage.add_machine(AMS, "ams", answering(answer, close=close))
    dfw = await stage.add_machine(DFW, "dfw", accepting(early=HELLO))
    client, handshake = await open_socket(stage, tls=tls)
    assert handshake.status == 101
    assert handshake.get("sec-websocket-accept") == ws.accept_key(ws.KEY)
    assert handshake.get("upgrade") == "websocket"
    assert await client.read_exactly(len(HELLO)) == HELLO
    (request,) = dfw.requests
    assert (request.get("upgrade"), request.get("sec-websocket-key")) == ("websocket", ws.KEY)
    assert (request.get("connection") or "").lower() == "upgrade"
    (trace,) = await stage.answered()
    assert (trace.path, trace.websocket) == (("ams-1", "dfw-1"), True)


async def test_an_upgrade_may_be_replayed_several_times(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", answering(f"HTTP/1.1 101 x\r\n{REPLAY}\r\n".encode(), close=True))
    to_third = f"HTTP/1.1 409 x\r\nfly-replay: instance={DFW_2}\r\ncontent-length: 0\r\n\r\n".encode()
    await stage.add_machine(DFW, "dfw", answering(to_third))
    await stage.add_machine(DFW_2, "dfw", echoing())
    client, handshake = await open_socket(stage)
    assert handshake.status == 101
    await client.send(HELLO)
    assert await client.read_exactly(len(HELLO)) == HELLO


@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
async def test_a_machine_that_hangs_up_late_does_not_touch_the_new_socket(stage: Stage, full: bool) -> None:
    """The machine that replayed closes only after the new handshake; the client must not notice."""
    hang_up = asyncio.Event()

    async def replay_and_linger(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(ws.accept(headers=REPLAY) if full else f"HTTP/1.1 101 x\r\n{REPLAY}\r\n".encode())
        await hang_up.wait()
        wire.writer.write(ws.frame(ws.CLOSE, ws.close(1001)))

    ams = await stage.add_machine(AMS, "ams", replay_and_linger)
    await stage.add_machine(DFW, "dfw", echoing())
    client, handshake = await open_socket(stage)
    assert handshake.status == 101
    hang_up.set()
    await until(lambda: ams.open_connections == 0)
    for _ in range(3):
        await client.send(ws.masked(ws.TEXT, b"still here"))
        assert await client.read_exactly(16) == ws.masked(ws.TEXT, b"still here")


def random_frames(seed: int, *, mask: bytes) -> bytes:
    """A stream of frames of every kind: fragments, controls between them, compression, sizes at every boundary."""
    chance = random.Random(seed)
    deflate = zlib.compressobj(wbits=-15)
    compressed = deflate.compress(b"compressed " * 50) + deflate.flush(zlib.Z_SYNC_FLUSH)
    sizes = (0, 1, 125, 126, 127, 65535, 65536, 70000)
    frames = [ws.frame(ws.BINARY, chance.randbytes(size), mask=mask) for size in sizes]
    frames += [
        ws.frame(ws.TEXT, "grüße".encode(), mask=mask),
        ws.frame(ws.TEXT, b"one ", fin=False, mask=mask)
        + ws.frame(ws.PING, b"between", mask=mask)
        + ws.frame(ws.CONTINUATION, b"two ", fin=False, mask=mask)
        + ws.frame(ws.PONG, b"", mask=mask)
        + ws.frame(ws.CONTINUATION, b"three", mask=mask),
        ws.frame(ws.TEXT, compressed[:-4], flags=ws.COMPRESSED, mask=mask),
        ws.frame(ws.BINARY, b"", fin=False, mask=mask) + ws.frame(ws.CONTINUATION, b"", mask=mask),
    ]
    chance.shuffle(frames)
    return b"".join(frames)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_frames_pass_both_ways_byte_for_byte(stage: Stage, tls: bool) -> None:
    from_machine, from_client = random_frames(1, mask=b""), random_frames(2, mask=ws.MASK)
    arrived: list[bytes] = []

    async def talk(wire: MachineWire) -> None:
        wire.writer.write(from_machine)
        arrived.append(await wire.read_exactly(len(from_client)))
        await wire.rest()

    await stage.add_machine(AMS, "ams", accepting(talk))
    client, _ = await open_socket(stage, tls=tls)
    await client.send(from_client)
    assert await client.read_exactly(len(from_machine)) == from_machine
    await until(lambda: arrived)
    assert arrived == [from_client]


async def test_the_deflate_extension_is_negotiated_end_to_end(stage: Stage) -> None:
    offer = "permessage-deflate; client_max_window_bits"
    agreed = "permessage-deflate; server_no_context_takeover"

    async def handler(wire: MachineWire) -> None:
        request = await wire.read_request_head()
        assert request.get("sec-websocket-extensions") == offer
        assert request.get("sec-websocket-protocol") == "chat, superchat"
        headers = f"Sec-WebSocket-Extensions: {agreed}\r\nSec-WebSocket-Protocol: superchat\r\n"
        await wire.send(ws.accept(headers=headers))
        await wire.rest()

    await stage.add_machine(AMS, "ams", handler)
    client = await stage.connect()
    await client.send(
        ws.upgrade(
            headers=f"Sec-WebSocket-Extensions: {offer}\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
        )
    )
    handshake = await client.read_head()
    assert handshake.get("sec-websocket-extensions") == agreed
    assert handshake.get("sec-websocket-protocol") == "superchat"


async def test_frames_sent_right_behind_the_handshake_reach_the_last_machine(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", answering(f"HTTP/1.1 101 x\r\n{REPLAY}\r\n".encode(), close=True))
    await stage.add_machine(DFW, "dfw", echoing())
    client = await stage.connect()
    early = ws.masked(ws.TEXT, b"early")
    await client.send(ws.upgrade() + early)
    assert (await client.read_head()).status == 101
    assert await client.read_exactly(len(early)) == early


async def test_a_handshake_and_frames_byte_by_byte(stage: Stage) -> None:
    async def talk(wire: MachineWire) -> None:
        await wire.send_apart(HELLO)
        await wire.rest()

    await stage.add_machine(AMS, "ams", accepting(talk))
    client = await stage.connect()
    await client.send_apart(ws.upgrade())
    assert (await client.read_head()).status == 101
    assert await client.read_exactly(len(HELLO)) == HELLO


CLOSES = {
    "with a code": (ws.close(4001, "see you"), 4001),
    "normal": (ws.close(1000), 1000),
    "without a code": (b"", 1005),
}


@pytest.mark.parametrize("which", CLOSES)
async def test_the_machine_closes_with_its_code(stage: Stage, which: str) -> None:
    payload, code = CLOSES[which]
    answered: list[bytes] = []

    async def say_goodbye(wire: MachineWire) -> None:
        await wire.send(ws.frame(ws.CLOSE, payload))
        answered.append(await wire.read_exactly(len(ws.masked(ws.CLOSE, payload))))

    await stage.add_machine(AMS, "ams", accepting(say_goodbye))
    client, _ = await open_socket(stage)
    goodbye = ws.frame(ws.CLOSE, payload)
    assert await client.read_exactly(len(goodbye)) == goodbye
    await client.send(ws.masked(ws.CLOSE, payload))
    assert await client.is_closed()
    assert answered == [ws.masked(ws.CLOSE, payload)]
    (trace,) = await stage.finished()
    assert (trace.close_code, trace.outcome, trace.status) == (code, "relayed", 101)


@pytest.mark.parametrize("which", CLOSES)
async def test_the_client_closes_with_its_code(stage: Stage, which: str) -> None:
    payload, code = CLOSES[which]

    async def answer_goodbye(wire: MachineWire) -> None:
        goodbye = ws.masked(ws.CLOSE, payload)
        assert await wire.read_exactly(len(goodbye)) == goodbye
        await wire.send(ws.frame(ws.CLOSE, payload))

    await stage.add_machine(AMS, "ams", accepting(answer_goodbye))
    client, _ = await open_socket(stage)
    await client.send(ws.masked(ws.CLOSE, payload))
    assert await client.rest() == ws.frame(ws.CLOSE, payload)
    (trace,) = await stage.finished()
    assert (trace.close_code, trace.outcome) == (code, "relayed")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_machine_that_dies_takes_the_clients_socket_along_at_once(stage: Stage, how: str) -> None:
    async def die(wire: MachineWire) -> None:
        await wire.read_some()
        getattr(wire, how)()

    await stage.add_machine(AMS, "ams", accepting(die))
    client, _ = await open_socket(stage)
    await client.send(ws.masked(ws.TEXT, b"die"))
    assert await client.is_closed()
    (trace,) = await stage.finished()
    assert trace.close_code is None


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_dies_takes_the_machines_socket_along_at_once(stage: Stage, how: str) -> None:
    ams = await stage.add_machine(AMS, "ams", accepting())
    client, _ = await open_socket(stage)
    getattr(client, how)()
    await until(lambda: ams.open_connections == 0)
    await stage.finished()


async def test_what_a_machine_sent_before_it_died_still_arrives(stage: Stage) -> None:
    """More than fits into any buffer on the way, the hang-up right behind it."""
    data = ws.frame(ws.BINARY, random.Random(3).randbytes(5 * 2**20))

    async def burst(wire: MachineWire) -> None:
        wire.writer.write(data)

    await stage.add_machine(AMS, "ams", accepting(burst))
    client, _ = await open_socket(stage)
    assert await client.rest() == data


async def test_what_a_client_sent_before_it_died_still_arrives(stage: Stage) -> None:
    data = ws.masked(ws.BINARY, random.Random(4).randbytes(2**20))
    arrived: list[bytes] = []

    async def listen(wire: MachineWire) -> None:
        arrived.append(await wire.rest())

    await stage.add_machine(AMS, "ams", accepting(listen))
    client, _ = await open_socket(stage)
    client.writer.write(data)
    client.close()
    await until(lambda: arrived)
    assert arrived == [data]


async def test_a_machine_that_stops_with_frames_in_flight_both_ways(stage: Stage) -> None:
    async def chatter(wire: MachineWire) -> None:
        while True:
            await wire.send(ws.frame(ws.BINARY, bytes(60_000)))

    ams = await stage.add_machine(AMS, "ams", accepting(chatter))
    client, _ = await open_socket(stage)
    for _ in range(20):
        client.writer.write(ws.masked(ws.BINARY, bytes(60_000)))
    await client.read_exactly(500_000)
    await ams.stop()
    assert len(await client.rest()) > 0
    (trace,) = await stage.finished()
    assert trace.outcome == "relayed"


async def test_a_client_that_does_not_read_can_still_speak(stage: Stage) -> None:
    """Each direction waits for its own reader only."""
    heard: list[bytes] = []
    word = ws.masked(ws.TEXT, b"stop it")

    async def flood(wire: MachineWire) -> None:
        wire.writer.write(ws.frame(ws.BINARY, bytes(2**25)))
        while True:
            heard.append(await wire.read_exactly(len(word)))

    await stage.add_machine(AMS, "ams", accepting(flood))
    client, _ = await open_socket(stage)
    client.pause()
    await until(lambda: stage.unsent() > 65536)
    for count in (1, 2, 3):
        await client.send(word)
        await until(lambda count=count: len(heard) == count)
    client.resume()
    assert heard == [word] * 3


async def test_several_sockets_on_several_machines_do_not_mix(stage: Stage) -> None:
    await stage.add_machine(AMS, "ams", echoing())
    await stage.add_machine(DFW, "dfw", echoing())

    async def converse(number: int) -> None:
        client, handshake = await open_socket(stage, edge=("ams", "dfw")[number % 2])
        assert handshake.status == 101
        for turn in range(10):
            message = ws.masked(ws.TEXT, f"{number}: {turn}".encode())
            await client.send(message)
            assert await client.read_exactly(len(message)) == message

    await asyncio.gather(*[converse(number) for number in range(40)])
    assert [len(machine.requests) for machine in stage.machines] == [20, 20]


async def test_an_upgrade_that_the_last_machine_declines_is_relayed(stage: Stage) -> None:
    answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno"
    await stage.add_machine(AMS, "ams", answering(answer))
    client = await stage.connect()
    for _ in range(2):
        await client.send(ws.upgrade())
        response = await client.read_response()
        assert (response.status, response.body) == (400, b"no")
    (trace, _) = await stage.finished(2)
    assert not trace.websocket


async def test_a_socket_after_plain_requests_on_the_same_connection(stage: Stage) -> None:
    async def handler(wire: MachineWire) -> None:
        request = await wire.read_request_head()
        if request.get("upgrade") is None:
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
            request = await wire.read_request_head()
        await wire.send(ws.accept() + HELLO)
        await wire.rest()

    await stage.add_machine(AMS, "ams", handler)
    client = await stage.connect()
    assert (await client.ask()).body == b"hello"
    await client.send(ws.upgrade())
    assert (await client.read_head()).status == 101
    assert await client.read_exactly(len(HELLO)) == HELLO


async def test_a_machine_that_closes_before_its_handshake_is_a_failure(stage: Stage) -> None:
    """F-6.12"""
    await stage.add_machine(AMS, "ams", answering(b"", close=True))
    client = await stage.connect()
    await client.send(ws.upgrade())
    assert (await client.read_response()).status == 502
    (trace,) = await stage.finished()
    assert trace.error == "PU02"
