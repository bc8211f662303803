"""Simulated network faults between edges and machines: cuts, delays, failed deliveries and resets."""

from __future__ import annotations

import asyncio
import time

import pytest

from simulator.network_conditions import Condition, Cut, Delay, FailedDeliveries, ResponseResets
from simulator.proxy.transport.simulated_link import MAX_HELD_BYTES, LinkDirection
from simulator.routing import App, Outcome
from simulator.routing.errors import Failure
from simulator.routing.service import Service, ServicePort
from tests.proxy import websocket as ws
from tests.proxy.client import Client, request
from tests.proxy.harness import AMS, DFW, DFW_2, Harness, assert_proxy_response, open_harness, until
from tests.proxy.machine import OK, MachineWire, accepting, echoing, replaying, replaying_body, responding

RAW = App("streams", services=(Service(ports=(ServicePort(5432, 5432, ()),)),))
WORDS = "nothing gets through"
BODY = b"x" * 100_000
LARGE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


def cut(**between: str) -> Cut:
    return Cut(description=WORDS, **between)


def failing(failure: Failure | int, remaining: int = 1) -> FailedDeliveries:
    return FailedDeliveries(description="it fails", machine_id=DFW, failure=failure, remaining=remaining)


def link_directions(harness: Harness) -> list[LinkDirection]:
    """Both directions of every open connection to a machine."""
    handlers = [handler for handler in harness.server._clients.values() if handler]
    links = [link for handler in handlers for link in handler._links.values()]
    return [direction for link in links for direction in (link.inward, link.outward)]


def held_bytes(harness: Harness) -> int:
    return sum(direction._held_bytes for direction in link_directions(harness))


async def echo_raw(wire: MachineWire) -> None:
    while data := await wire.reader.read(65536):
        await wire.send(data)


# Partitions.


async def test_a_cut_connection_times_out_on_the_simulated_clock(harness: Harness) -> None:
    """F-6.20, K-6: the delay of 7.5 s is skipped."""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    harness.network.add(cut(edge="ams", region="dfw"))
    started, real = harness.clock.now(), time.monotonic()
    assert_proxy_response(await (await harness.connect()).fetch())
    assert time.monotonic() - real < 5
    assert harness.clock.now() - started >= 7.5
    (trace,) = await harness.finished()
    assert trace.error == "PR03"
    assert trace.hops[1].failure == "[PC05] connection to instance timed out"
    assert trace.hops[1].note == f"fault: {WORDS}"
    assert [line.message for line in harness.proxy_log() if not line.code] == [f"fault triggered: {WORDS}"]
    assert dfw.connections == 0


async def test_a_cut_affects_only_what_it_names(harness: Harness) -> None:
    await harness.add_machine(AMS, "ams", responding(OK))
    harness.network.add(cut(edge="dfw"), cut(region="dfw"), cut(machine_id=DFW))
    assert (await (await harness.connect("ams")).fetch()).status == 200
    assert (await (await harness.connect("dfw")).fetch()).status == 502


async def test_a_kept_alive_connection_is_not_reused_across_a_cut(harness: Harness) -> None:
    """Otherwise a request would fail or hang depending on whether the client had connected before."""
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    assert (await client.fetch()).status == 200
    remove = harness.network.add(cut())
    assert_proxy_response(await client.fetch())
    remove()
    assert (await client.fetch()).status == 200
    assert len(dfw.requests) == 2


async def test_in_real_time_a_waiting_connection_opens_when_the_cut_ends() -> None:
    async with open_harness(realtime=True) as harness:
        await harness.add_machine(DFW, "dfw", responding(OK))
        remove = harness.network.add(cut())
        fetching = asyncio.create_task((await harness.connect()).fetch())
        await until(harness.proxy_log)
        harness.network.add(failing(Failure.REFUSED))  # adding another fault changes nothing
        remove()
        assert (await fetching).status == 200


async def test_a_client_that_disconnects_while_its_connection_waits_leaves_nothing_behind() -> None:
    async with open_harness(realtime=True) as harness:
        await harness.add_machine(DFW, "dfw", responding(OK))
        harness.network.add(cut())
        client = await harness.connect()
        await client.send(request())
        await until(harness.proxy_log)
        await client.aclose()
        (trace,) = await harness.finished()
        assert trace.outcome is Outcome.CLIENT_LEFT
        assert harness.router.load.of_machine(DFW) == 0


async def test_a_body_stalls_during_a_cut_and_continues_afterwards(harness: Harness) -> None:
    proceed = asyncio.Event()

    async def send_in_two_parts(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none")
        await proceed.wait()
        await wire.send(b"two")
        await wire.read_to_end()

    await harness.add_machine(DFW, "dfw", send_in_two_parts)
    client = await harness.connect()
    await client.send(request())
    await client.read_head()
    assert await client.read_exactly(3) == b"one"
    remove = harness.network.add(cut())
    proceed.set()
    await until(lambda: held_bytes(harness) == 3)
    remove()
    assert await client.read_exactly(3) == b"two"


async def test_a_cut_holds_both_directions_of_a_websocket_and_its_close_in_order(harness: Harness) -> None:
    """F-1.95: no byte is lost."""
    from_machine = [ws.frame(ws.TEXT, b"from the machine %d" % number) for number in range(5)]
    from_client = [ws.masked(ws.TEXT, b"from the client %d" % number) for number in range(5)]
    is_cut = asyncio.Event()
    arrived: list[bytes] = []

    async def talk(wire: MachineWire) -> None:
        await is_cut.wait()
        for frame in from_machine:
            await wire.send(frame)
            await asyncio.sleep(0)
        arrived.append(await wire.read_exactly(sum(map(len, from_client))))
        arrived.append(await wire.read_to_end())

    await harness.add_machine(DFW, "dfw", accepting(talk))
    client, _ = await harness.open_websocket()
    remove = harness.network.add(cut())
    is_cut.set()
    for frame in from_client:
        await client.send(frame)
    await until(lambda: held_bytes(harness) == sum(map(len, from_machine + from_client)))
    assert not arrived
    remove()
    assert await client.read_exactly(sum(map(len, from_machine))) == b"".join(from_machine)
    remove = harness.network.add(cut())
    await client.send(from_client[0])
    await client.aclose()
    await harness.finished()
    remove()
    await until(lambda: len(arrived) == 2)
    assert arrived == [b"".join(from_client), from_client[0]]


async def test_a_cut_holds_a_limited_amount_in_each_direction(harness: Harness) -> None:
    message = ws.frame(ws.BINARY, bytes(16 * MAX_HELD_BYTES))
    is_cut = asyncio.Event()
    sent = 0

    async def flood(wire: MachineWire) -> None:
        nonlocal sent
        await is_cut.wait()
        for start in range(0, len(message), 65536):
            await wire.send(message[start : start + 65536])
            sent += 65536
        await wire.read_to_end()

    await harness.add_machine(DFW, "dfw", accepting(flood))
    client, _ = await harness.open_websocket()
    remove = harness.network.add(cut())
    is_cut.set()
    uploading = asyncio.create_task(client.send(ws.masked(ws.BINARY, message)))
    await until(lambda: all(not direction._has_room.is_set() for direction in link_directions(harness)))
    assert 0 < sent < len(message)
    assert not uploading.done()
    remove()
    assert await client.read_exactly(len(message)) == message
    await uploading


async def test_stopping_the_proxy_releases_what_a_cut_holds(harness: Harness) -> None:
    """Connections to the machine close although a cut holds their data."""
    machine = await harness.add_machine(DFW, "dfw", echoing())
    client, _ = await harness.open_websocket()
    harness.network.add(cut())
    await client.send(ws.masked(ws.TEXT, b"held"))
    await client.aclose()
    await harness.server.stop()
    await until(lambda: not machine.open_connections)
    assert not harness.network


# Latency.


async def test_a_delay_applies_to_each_direction_and_to_the_handshake(harness: Harness) -> None:
    await harness.add_machine(DFW, "dfw", responding(OK))
    harness.network.add(Delay(description="far", edge="ams", region="dfw", seconds=1.0))
    client = await harness.connect()
    for transfers, count in ((4, 1), (2, 2)):  # the second request reuses the connection
        started = harness.clock.now()
        assert (await client.fetch()).status == 200
        trace = (await harness.finished(count))[-1]
        assert harness.clock.now() - started == pytest.approx(1.0 * transfers, abs=0.5)
        (hop,) = trace.hops
        assert hop.ended_at is not None
        assert hop.ended_at - hop.started_at == pytest.approx(1.0 * transfers, abs=0.5)
        assert hop.note == "fault: far"


async def test_delays_add_up_and_end_one_by_one(harness: Harness) -> None:
    await harness.add_machine(DFW, "dfw", responding(OK))
    ends = [harness.network.add(Delay(description=f"{s} s", seconds=s)) for s in (1.0, 2.0)]
    client = await harness.connect()
    assert (await client.fetch()).status == 200
    for end, expected in zip(ends, (2.0 * 2, 0.0), strict=True):
        end()
        started = harness.clock.now()
        assert (await client.fetch()).status == 200
        assert harness.clock.now() - started == pytest.approx(expected, abs=0.5)


async def test_a_body_of_many_chunks_is_delayed_once(harness: Harness) -> None:
    await harness.add_machine(DFW, "dfw", responding(LARGE))
    harness.network.add(Delay(description="far", seconds=1.0))
    started = harness.clock.now()
    assert (await (await harness.connect()).fetch()).body == BODY
    assert harness.clock.now() - started == pytest.approx(4.0, abs=0.5)


async def test_a_delay_longer_than_the_connect_timeout_fails_the_connection(harness: Harness) -> None:
    """F-1.49: the timeout of a replay limits the attempt to connect to its target."""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW};timeout=1s"))
    await harness.add_machine(DFW, "dfw", responding(OK))
    end = harness.network.add(Delay(description="far", edge="ams", region="dfw", seconds=0.6))
    assert_proxy_response(await (await harness.connect()).fetch())
    end()
    harness.network.add(Delay(description="near", edge="ams", region="dfw", seconds=0.4))
    assert (await (await harness.connect()).fetch()).status == 200


async def test_in_real_time_messages_are_delayed_equally_and_stay_in_order() -> None:
    seconds, messages = 0.1, [ws.frame(ws.TEXT, b"%02d" % number) for number in range(20)]
    sent_at: list[float] = []

    async def talk(wire: MachineWire) -> None:
        for message in messages:
            sent_at.append(time.monotonic())
            await wire.send(message)
            await asyncio.sleep(0.005)
        await wire.read_to_end()

    async with open_harness(realtime=True) as harness:
        await harness.add_machine(DFW, "dfw", accepting(talk))
        harness.network.add(Delay(description="far", seconds=seconds))
        client, _ = await harness.open_websocket()
        for number, message in enumerate(messages):
            assert await client.read_exactly(len(message)) == message
            assert time.monotonic() - sent_at[number] >= seconds
        took = time.monotonic() - sent_at[0]
        assert took < seconds * len(messages) / 2  # the delays overlap


async def test_delayed_data_arrives_at_once_when_the_delay_ends() -> None:
    async with open_harness(realtime=True) as harness:
        await harness.add_machine(DFW, "dfw", echoing())
        client, _ = await harness.open_websocket()
        end = harness.network.add(Delay(description="very far", seconds=3600.0))
        frame = ws.masked(ws.TEXT, b"late")
        await client.send(frame)
        await until(lambda: held_bytes(harness) == len(frame))
        end()
        assert await client.read_exactly(len(frame)) == frame


# Deliveries that fail.


@pytest.mark.parametrize("failure", [Failure.REFUSED, Failure.RESET, Failure.HOST_UNREACHABLE])
async def test_a_delivery_that_did_not_reach_its_machine_is_retried(
    harness: Harness, failure: Failure
) -> None:
    """F-5.41"""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    harness.network.add(failing(failure, remaining=2))
    assert (await (await harness.connect()).fetch("POST", body=b"again")).body == b"hello"
    (trace,) = await harness.finished()
    assert [(hop.machine, hop.attempts) for hop in trace.hops] == [("ams-1", 1), ("dfw-1", 3)]
    assert trace.hops[1].note == "fault: it fails"
    assert [message.body for message in dfw.requests] == [b"again"]
    assert not harness.network


async def test_a_delivery_that_may_have_reached_its_machine_is_not_retried(harness: Harness) -> None:
    """F-5.45, K-34"""
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    harness.network.add(failing(Failure.CLOSED))
    client = await harness.connect()
    assert_proxy_response(await client.fetch())
    assert [line.code for line in harness.proxy_log()] == [None, "PU02"]
    assert (await client.fetch()).status == 200
    assert len(dfw.requests) == 1


@pytest.mark.parametrize("body", [None, b"a body"])
async def test_an_injected_status_replaces_the_machines_response(
    harness: Harness, body: bytes | None
) -> None:
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    harness.network.add(failing(503, remaining=2))
    h1, h2 = await harness.connect(), await harness.connect_h2()
    method = "POST" if body else "GET"
    response = await h1.fetch(method, body=body)
    assert (response.status, response.body) == (503, b"")
    assert (await h2.fetch(method, body=body)).status == 503
    assert (await h1.fetch()).status == (await h2.fetch()).status == 200
    assert len(dfw.requests) == 2
    trace = (await harness.finished(4))[0]
    assert (trace.served_by, trace.error, trace.hops[0].note) == ("dfw-1", None, "fault: it fails")


async def test_an_injected_status_after_a_replay_does_not_affect_the_replaying_machine(
    harness: Harness,
) -> None:
    ams = await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    await harness.add_machine(DFW, "dfw", responding(OK))
    harness.network.add(failing(500))
    client = await harness.connect()
    assert (await client.fetch()).status == 500
    assert (await client.fetch()).status == 200
    assert (ams.connections, len(ams.requests)) == (1, 2)


async def test_a_refused_websocket_goes_to_another_machine(harness: Harness) -> None:
    """F-5.41"""
    await harness.add_machine(DFW, "dfw", echoing())
    await harness.add_machine(DFW_2, "dfw", echoing())
    harness.network.add(
        FailedDeliveries(
            description="it fails", failure=Failure.REFUSED, remaining=1
        )  # whichever machine is selected first
    )
    client, response = await harness.open_websocket()
    assert response.status == 101
    await client.aclose()
    (trace,) = await harness.finished()
    assert sorted(hop.machine_id for hop in trace.hops) == [DFW, DFW_2]


# Responses that are reset.


@pytest.mark.parametrize("after", [0, 1, 65_536, 99_999])
async def test_a_response_is_reset_after_exactly_the_configured_bytes(harness: Harness, after: int) -> None:
    """F-6.15: the client has the response head already, so its connection is closed, too."""
    dfw = await harness.add_machine(DFW, "dfw", responding(LARGE))
    harness.network.add(ResponseResets(description="it breaks", after_bytes=after, remaining=1))
    client = await harness.connect()
    await client.send(request())
    assert (await client.read_head()).status == 200
    assert len(await client.read_to_end()) == after
    (trace,) = await harness.finished()
    assert trace.outcome is Outcome.BROKEN
    assert trace.hops[0].note == "fault: it breaks"
    await until(lambda: not dfw.open_connections)
    assert (await (await harness.connect()).fetch()).body == BODY


async def test_a_shorter_response_is_not_reset(harness: Harness) -> None:
    await harness.add_machine(DFW, "dfw", responding(LARGE))
    harness.network.add(ResponseResets(description="it breaks", after_bytes=len(BODY) + 1))
    client = await harness.connect()
    for _ in range(2):  # bytes are counted for each response
        assert (await client.fetch()).body == BODY


@pytest.mark.parametrize("after", [0, 5])
async def test_a_replay_whose_body_is_reset_ends_in_pa03(harness: Harness, after: int) -> None:
    """F-1.84: the truncated body is not valid JSON."""
    ams = await harness.add_machine(AMS, "ams", replaying_body(instance=DFW))
    await harness.add_machine(DFW, "dfw", responding(OK))
    harness.network.add(
        ResponseResets(description="it breaks", machine_id=AMS, after_bytes=after, remaining=1)
    )
    client = await harness.connect()
    assert (await client.fetch()).status == 502
    (trace,) = await harness.finished()
    assert (trace.error, trace.hops[0].note) == ("PA03", "fault: it breaks")
    await until(lambda: not ams.open_connections)
    assert (await client.fetch()).body == b"hello"


async def test_a_reset_ends_one_http2_stream_and_not_its_connection(harness: Harness) -> None:
    await harness.add_machine(DFW, "dfw", responding(LARGE))
    harness.network.add(ResponseResets(description="it breaks", after_bytes=1000, remaining=1))
    client = await harness.connect_h2()
    broken = await client.open()
    await client.wait(lambda: broken.reset is not None)
    assert bytes(broken.body) == BODY[:1000]
    assert bytes((await client.fetch()).body) == BODY


@pytest.mark.parametrize("after", [0, 5, 2000])
async def test_a_websocket_is_reset_after_exactly_the_configured_bytes_from_the_machine(
    harness: Harness, after: int
) -> None:
    early, later = ws.frame(ws.BINARY, bytes(1000)), ws.frame(ws.BINARY, bytes(5000))

    async def talk(wire: MachineWire) -> None:
        await wire.read_some()
        await wire.send(later)
        await wire.read_to_end()

    await harness.add_machine(DFW, "dfw", accepting(talk, early=early))
    harness.network.add(ResponseResets(description="it breaks", after_bytes=after))
    client, response = await harness.open_websocket()
    assert response.status == 101
    await client.send(ws.masked(ws.TEXT, b"start"))
    assert await client.read_to_end() == (early + later)[:after]
    (trace,) = await harness.finished()
    assert (trace.close_code, trace.hops[0].note) == (None, "fault: it breaks")


async def test_an_open_websocket_counts_bytes_from_the_start_of_the_fault(harness: Harness) -> None:
    await harness.add_machine(DFW, "dfw", echoing())
    client, _ = await harness.open_websocket()
    frame = ws.masked(ws.TEXT, b"0123456789")
    await client.send(frame)
    assert await client.read_exactly(len(frame)) == frame
    harness.network.add(ResponseResets(description="it breaks", after_bytes=4))
    await client.send(frame)
    assert await client.read_to_end() == frame[:4]


# Services without the `http` handler.


async def raw(harness: Harness) -> Client:
    return await harness.connect(public_port=5432)


ON_AMS = {("ams", 5432): 0}


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        (failing(Failure.REFUSED, remaining=6), "PC01"),
        (failing(503, remaining=6), "PC03"),  # TCP has no status codes
        (cut(), "PC05"),
        (Delay(description="too far", seconds=60.0), "PC05"),
    ],
)
async def test_the_same_faults_apply_to_a_tcp_connection(condition: Condition, code: str) -> None:
    """F-6.22: PC07 after six attempts."""
    async with open_harness(app=RAW, extra_ports=ON_AMS) as harness:
        await harness.add_machine(DFW, "dfw", echo_raw)
        end = harness.network.add(condition)
        assert await (await raw(harness)).is_closed()
        assert f"last error: [{code}]" in harness.proxy_log()[-1].message
        end()
        client = await raw(harness)
        await client.send(b"hello")
        assert await client.read_exactly(5) == b"hello"


async def test_a_tcp_connection_is_held_and_reset_too() -> None:
    async with open_harness(app=RAW, extra_ports=ON_AMS) as harness:
        await harness.add_machine(DFW, "dfw", echo_raw)
        client = await raw(harness)
        await client.send(b"one")
        assert await client.read_exactly(3) == b"one"
        remove = harness.network.add(cut())
        await client.send(b"two")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(1), 0.1)
        remove()
        assert await client.read_exactly(3) == b"two"
        harness.network.add(ResponseResets(description="it breaks", after_bytes=2))
        await client.send(b"three")
        assert await client.read_to_end() == b"th"
