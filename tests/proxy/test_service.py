"""Service options of a fly.toml: force_https, h2_backend, idle_timeout, public ports, TCP services, limits."""

from __future__ import annotations

import asyncio
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from simulator.proxy.passthrough import proxy_protocol_header
from simulator.routing import App, MachineState
from simulator.routing.service import HttpOptions, Service, ServicePort
from tests.proxy.harness import AMS, DFW, Harness, open_harness, until
from tests.proxy.machine import OK, MachineWire, responding, silent
from tests.proxy.websocket import accept, upgrade


def app(**options: Any) -> App:
    """The streams app, with options for its public ports."""
    http = HttpOptions(**options.pop("http", {}))
    ports = (
        ServicePort(80, 80, ("http",), options.pop("force_https", False), http),
        ServicePort(443, 443, ("tls", "http"), http=http),
    )
    return App("streams", services=(Service(ports=ports, **options),))


async def test_force_https_redirects_plain_http_to_https() -> None:
    """F-4.26, F-9.3"""
    async with open_harness(app=app(force_https=True)) as harness:
        machine = await harness.add_machine(AMS, "ams", responding(OK))
        response = await (await harness.connect()).fetch(path="/a?b=c")
        assert response.status == 301
        assert response.get("location") == "https://streams.fly.dev/a?b=c"
        assert not machine.requests
        assert (await (await harness.connect(tls=True)).fetch()).status == 200


@pytest.mark.parametrize(
    ("target", "host", "location"),
    [
        (b"/caf\xc3\xa9", b"a.test", "https://a.test/caf%C3%A9"),
        (b"/caf\xe9?\xff=%20", b"a.test", "https://a.test/caf%E9?%FF=%20"),
        (b'/<a>"{b}|', b"a.test:8080", "https://a.test:8080/%3Ca%3E%22%7Bb%7D%7C"),
    ],
)
async def test_the_redirect_to_https_repeats_the_clients_bytes(
    target: bytes, host: bytes, location: str
) -> None:
    """RFC 9110, 10.2.2: a Location is a URI, so other bytes are percent-encoded."""
    async with open_harness(app=app(force_https=True)) as harness:
        client = await harness.connect()
        await client.send(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, host))
        response = await client.read_response()
        assert (response.status, response.get("location")) == (301, location)


async def test_an_international_hostname_is_the_same_over_http1_and_http2() -> None:
    """It is sent in its xn-- form (RFC 5890), and so it must reach the machine and the choice of the app."""
    name = "xn--mnchen-3ya.test"
    async with open_harness(app=App("streams", hostnames=(name,))) as harness:
        machine = await harness.add_machine(AMS, "ams", responding(OK))
        other = App("other", hostnames=("münchen.test",), services=())
        harness.core.router.fleet = harness.router.fleet.with_app(other)
        client = await harness.connect_h2()
        assert (await client.complete(await client.open(authority=name))).status == 200
        old = await harness.connect()
        await old.send(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        assert (await old.read_response()).status == 200
        assert [request.get("host") for request in machine.requests] == [name, name]
        assert [trace.host for trace in await harness.finished(2)] == [name, name]


async def test_a_trace_shows_bytes_that_are_not_utf8_as_escapes(harness: Harness) -> None:
    machine = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    await client.send(b"GET /caf\xe9 HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert (await client.read_response()).status == 200
    (trace,) = await harness.finished()
    assert trace.target == r"/caf\xe9"
    assert machine.requests[0].head.startswith(b"GET /caf\xe9 HTTP/1.1\r\n")


async def test_h2_backend_uses_http2_to_the_machine_and_http1_for_upgrades() -> None:
    """F-9.5, F-1.97"""
    seen: list[str] = []

    async def either(wire: MachineWire) -> None:
        first = await wire.reader.read(65536)
        if not first.startswith(b"PRI * HTTP/2.0"):
            seen.append("HTTP/1.1")
            await wire.send(accept())
            await wire.read_to_end()
            return
        seen.append("HTTP/2")
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        connection.initiate_connection()
        data = first
        while data:
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    seen.append(dict(event.headers)[":path"])
                    connection.send_headers(event.stream_id, [(":status", "200"), ("content-length", "2")])
                    connection.send_data(event.stream_id, b"h2", end_stream=True)
            await wire.send(connection.data_to_send())
            data = await wire.reader.read(65536)

    async with open_harness(app=app(http={"h2_backend": True})) as harness:
        await harness.add_machine(AMS, "ams", either)
        client = await harness.connect()
        for path in ("/one", "/two"):
            assert (await client.fetch(path=path)).body == b"h2"
        await client.send(upgrade())
        assert (await client.read_head()).status == 101
        assert seen == ["HTTP/2", "/one", "/two", "HTTP/1.1"]


async def test_an_idle_connection_is_closed_after_the_idle_timeout() -> None:
    """F-9.7"""
    async with open_harness(app=app(http={"idle_timeout_seconds": 0.05})) as harness:
        await harness.add_machine(AMS, "ams", responding(OK))
        client = await harness.connect()
        assert (await client.fetch()).status == 200
        assert await client.is_closed()


async def test_another_public_port_selects_another_service() -> None:
    """F-1.61, F-5.12, F-9.6: the target must serve the public port of the request."""
    management = Service(internal_port=9090, ports=(ServicePort(9090, 9090),), groups=("admin",))
    both = App("streams", services=(Service(groups=("app",)), management))
    async with open_harness(app=both, extra_ports={("ams", 9090): 0}) as harness:
        await harness.add_machine(AMS, "ams", responding(OK.replace(b"hello", b"first")))
        admin = await harness.add_machine(DFW, "dfw", responding(OK.replace(b"hello", b"admin")))
        harness.change(admin, group="admin")
        harness.router.fleet = harness.router.fleet.with_app(
            App("streams", services=(Service(groups=("app",)), _at(management, admin.fleet_entry.port)))
        )
        assert (await (await harness.connect()).fetch()).body == b"first"
        assert (await (await harness.connect(public_port=9090)).fetch()).body == b"admin"


def _at(service: Service, port: int) -> Service:
    return Service(port, service.ports, service.groups)


async def test_a_service_without_the_http_handler_is_passed_through_as_tcp() -> None:
    """F-12.7, F-9.4, F-1.28: no Fly headers are added, and a replay header is passed on like any other data."""
    raw = App("streams", services=(Service(ports=(ServicePort(5432, 5432, ()),)),))

    async def greeting(wire: MachineWire) -> None:
        await wire.send(b"fly-replay: no HTTP here\r\n")
        await wire.send(await wire.read_exactly(4))

    async with open_harness(app=raw, extra_ports={("ams", 5432): 0}) as harness:
        await harness.add_machine(AMS, "ams", greeting)
        client = await harness.connect(public_port=5432)
        await client.send(b"ping")
        assert await client.read_to_end() == b"fly-replay: no HTTP here\r\nping"
        assert not harness.traces


async def test_a_tcp_connection_without_a_machine_is_closed_and_logged_as_pr01() -> None:
    """F-6.51"""
    raw = App("streams", services=(Service(ports=(ServicePort(5432, 5432, ()),)),))
    async with open_harness(app=raw, extra_ports={("ams", 5432): 0}) as harness:
        assert await (await harness.connect(public_port=5432)).is_closed()
        assert [line.code for line in harness.proxy_log()] == ["PR01"]


async def test_proxy_proto_sends_the_client_address_to_the_machine() -> None:
    """F-9.4, F-9.13"""
    port = ServicePort(5432, 5432, ("proxy_proto",))
    async with open_harness(
        app=App("streams", services=(Service(ports=(port,)),)), extra_ports={("ams", 5432): 0}
    ) as harness:
        lines: list[bytes] = []

        async def reading(wire: MachineWire) -> None:
            lines.append(await wire.reader.readline())

        await harness.add_machine(AMS, "ams", reading)
        client = await harness.connect(public_port=5432)
        own = client.writer.get_extra_info("sockname")
        await client.read_to_end()
        there = client.writer.get_extra_info("peername")
        assert lines == [f"PROXY TCP4 127.0.0.1 127.0.0.1 {own[1]} {there[1]}\r\n".encode()]


@pytest.mark.parametrize(
    ("client", "family"), [(("127.0.0.1", 50000), b"\x11\x00\x0c"), (("::1", 50000), b"\x21\x00\x24")]
)
def test_version_2_of_the_proxy_protocol_is_binary(client: tuple[str, int], family: bytes) -> None:
    """F-9.13"""
    header = proxy_protocol_header(client, (client[0], 5432), "v2")
    assert header.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21" + family)
    assert header.endswith(b"\xc3\x50\x15\x38")


async def test_a_request_starts_a_machine_and_waits_for_it(harness: Harness) -> None:
    """F-12.9, F-1.59, F-5.25"""
    machine = await harness.add_machine(AMS, "ams", responding(OK))
    harness.change(machine, state=MachineState.STOPPED)
    fetching = asyncio.ensure_future((await harness.connect()).fetch())
    await until(lambda: harness.start_requests == [AMS])
    harness.change(machine, state=MachineState.STARTING)
    harness.change(machine, state=MachineState.STARTED, healthy=False)
    harness.change(machine, healthy=True)
    assert (await fetching).status == 200
    assert harness.start_requests == [AMS]


async def test_a_client_that_disconnects_while_a_machine_starts_leaves_nothing_behind(
    harness: Harness,
) -> None:
    machine = await harness.add_machine(AMS, "ams", responding(OK))
    harness.change(machine, state=MachineState.STOPPED)
    client = await harness.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: streams.fly.dev\r\n\r\n")
    await until(lambda: harness.start_requests)
    await client.aclose()
    (trace,) = await harness.finished()
    assert trace.outcome == "client_left"


async def test_a_request_is_queued_while_all_machines_are_at_their_hard_limit() -> None:
    """F-5.3, F-5.6, K-36"""
    release = asyncio.Event()

    async def slow(wire: MachineWire) -> None:
        while True:
            await wire.read_request()
            await release.wait()
            await wire.send(OK)

    async with open_harness(app=app(hard_limit=1)) as harness:
        machine = await harness.add_machine(AMS, "ams", slow)
        first = asyncio.ensure_future((await harness.connect()).fetch())
        await until(lambda: len(machine.requests) == 1)
        second = asyncio.ensure_future((await harness.connect()).fetch())
        await until(lambda: len(harness.server._clients) == 2)
        assert len(machine.requests) == 1
        release.set()
        assert [(await first).status, (await second).status] == [200, 200]
        await harness.finished(2)
        assert harness.router.load.of_machine(AMS) == 0


async def test_open_websockets_get_a_going_away_close_frame_before_a_machine_stops(harness: Harness) -> None:
    """F-12.15, F-5.36: the client gets a close frame, and the machine gets the client's reply to it."""
    received: list[bytes] = []

    async def chatting(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(accept() + b"\x82\x05he")  # in the middle of a frame
        received.append(await wire.read_exactly(1))
        await wire.send(b"llo")
        received.append(await wire.read_to_end())

    await harness.add_machine(AMS, "ams", chatting)
    client, _ = await harness.open_websocket()
    assert await client.read_exactly(4) == b"\x82\x05he"
    await harness.server.go_away(AMS)
    await client.send(b"!")
    assert await client.read_exactly(3) == b"llo"
    assert await client.read_exactly(4) == b"\x88\x02\x03\xe9"
    await client.send(b"\x88\x82\0\0\0\0\x03\xe9")
    await client.aclose()
    (trace,) = await harness.finished()
    assert trace.close_code == 1001


async def test_nothing_of_the_machine_follows_the_proxys_close_frame(harness: Harness) -> None:
    """F-5.36; RFC 6455, 5.5.1 and 7.1.1: the client's close frame ends the connection"""
    gone = asyncio.Event()

    async def talkative(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(accept() + b"\x82\x05he")
        await gone.wait()
        await wire.send(b"llo\x82\x01a" + b"\x82\x01b" * 1000)

    await harness.add_machine(AMS, "ams", talkative)
    client, _ = await harness.open_websocket()
    assert await client.read_exactly(4) == b"\x82\x05he"
    await harness.server.go_away(AMS)
    gone.set()
    assert await client.read_exactly(7) == b"llo\x88\x02\x03\xe9"
    await until(lambda: harness.resource_counts()["transports"] == 0)  # the machine has closed its connection
    await harness.server.go_away(AMS)  # a second one changes nothing
    await client.send(b"\x88\x82\0\0\0\0\x03\xe9")
    assert await client.read_to_end() == b""


async def test_a_client_that_does_not_answer_the_close_frame_is_disconnected(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-5.36"""
    monkeypatch.setattr("simulator.proxy.http.websocket_tunnel.CLOSE_SECONDS", 0.05)

    async def open_forever(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(accept())
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", open_forever)
    client, _ = await harness.open_websocket()
    await harness.server.go_away(AMS)
    assert await client.read_to_end() == b"\x88\x02\x03\xe9"


async def test_a_pristine_response_has_no_headers_from_the_proxy() -> None:
    """F-4.24, F-4.25"""
    options = {"pristine": True, "response_headers": (("x-added", ("1", "2")), ("content-type", None))}
    async with open_harness(app=app(http=options)) as harness:
        await harness.add_machine(AMS, "ams", responding(OK))
        response = await (await harness.connect()).fetch()
        assert [name for name, _ in response.fields] == ["content-length", "x-added", "x-added"]


async def test_a_request_without_a_response_counts_as_load(harness: Harness) -> None:
    """F-5.38: a request counts as load until it ends."""
    await harness.add_machine(AMS, "ams", silent())
    client = await harness.connect()
    await client.send(upgrade())
    await until(lambda: harness.router.load.of_machine(AMS) == 1)
    await client.aclose()
    await until(lambda: harness.router.load.of_machine(AMS) == 0)
