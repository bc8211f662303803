"""Name server of the private network, queried over UDP and TCP (facts, section 8.1)."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import dns.asyncquery
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.resolver
import mitmproxy.dns
import pytest

from simulator.errors import EnvironmentFault
from simulator.proxy import ProxyServer
from simulator.proxy.dns_listener import DnsListener
from simulator.proxy.name_server import NameServer
from simulator.proxy.server import find_system_name_server
from simulator.routing import App, Fleet, Machine, MachineState
from simulator.testing import eventually
from tests.machines.name_server import name_server
from tests.proxy.harness import AMS, DFW, DFW_2, Harness
from tests.proxy.machine import OK, replaying, responding

STOPPED = "00bb33ff00bb33"
UNHEALTHY = "11aa44ee11aa44"

MACHINES = [
    Machine(AMS, "ams-1", "streams", "ams", private_ip="fdaa::1"),
    Machine(DFW, "dfw-1", "streams", "dfw", private_ip="fdaa::2"),
    Machine(DFW_2, "dfw-2", "streams", "dfw", private_ip="fdaa::3", group="worker"),
    Machine(STOPPED, "lhr-1", "streams", "lhr", private_ip="fdaa::4", state=MachineState.STOPPED),
    Machine(UNHEALTHY, "api-1", "api", "lhr", private_ip="fdaa::5", healthy=False, cordoned=True),
]


@pytest.fixture
def named_harness(harness: Harness) -> Harness:
    harness.router.fleet = Fleet.of([App("streams"), App("api")], MACHINES)
    return harness


async def query_dns(
    harness: Harness, name: str, kind: str = "AAAA", *, tcp: bool = False
) -> dns.message.Message:
    assert harness.server.dns_address is not None
    host, port = harness.server.dns_address
    query = dns.message.make_query(name, kind)
    if tcp:
        return await dns.asyncquery.tcp(query, host, port=port, timeout=5)
    return await dns.asyncquery.udp(query, host, port=port, timeout=5)


def values(answer: dns.message.Message) -> list[str]:
    return [record.to_text().strip('"') for records in answer.answer for record in records]


ADDRESSES = {
    "streams.internal": ["fdaa::1", "fdaa::2", "fdaa::3"],  # F-8.1, F-8.14
    "STREAMS.Internal": ["fdaa::1", "fdaa::2", "fdaa::3"],
    "global.streams.internal": ["fdaa::1", "fdaa::2", "fdaa::3"],  # F-8.6
    "top1.nearest.of.streams.internal": ["fdaa::1"],  # F-8.2
    "top2.nearest.of.streams.internal": ["fdaa::1", "fdaa::2"],
    f"{DFW}.vm.streams.internal": ["fdaa::2"],  # F-8.3
    "worker.process.streams.internal": ["fdaa::3"],  # F-8.4
    "dfw.streams.internal": ["fdaa::2", "fdaa::3"],  # F-8.5
    "api.internal": ["fdaa::5"],  # names ignore health checks and cordons (F-8.18)
}


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("name", ADDRESSES)
async def test_a_name_resolves_to_its_addresses(named_harness: Harness, name: str, tcp: bool) -> None:
    """F-8.1 to F-8.6, F-8.14"""
    answer = await query_dns(named_harness, name, tcp=tcp)
    assert answer.rcode() == dns.rcode.NOERROR
    assert sorted(values(answer)) == ADDRESSES[name]


TEXTS = {
    "vms.streams.internal": f"{AMS} ams,{DFW} dfw,{DFW_2} dfw",  # F-8.9
    "all.vms.streams.internal": f"{AMS} ams,{DFW} dfw,{DFW_2} dfw,{STOPPED} lhr",
    "regions.streams.internal": "ams,dfw",  # F-8.10
    "all.regions.streams.internal": "ams,dfw,lhr",
    "_apps.internal": "streams,api",  # F-8.11
    "_instances.internal": ";".join(
        f"instance={m.id},app={m.app},ip={m.private_ip},region={m.region}"
        for m in MACHINES
        if m.id != STOPPED
    ),  # F-8.13
    "all._instances.internal": ";".join(
        f"instance={m.id},app={m.app},ip={m.private_ip},region={m.region}" for m in MACHINES
    ),
}


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("name", TEXTS)
async def test_a_name_resolves_to_its_text(named_harness: Harness, name: str, tcp: bool) -> None:
    """F-8.9 to F-8.13; a text of more than 255 bytes is split into several strings (RFC 1035, 3.3.14)."""
    answer = await query_dns(named_harness, name, "TXT", tcp=tcp)
    assert answer.rcode() == dns.rcode.NOERROR
    (records,) = answer.answer
    (record,) = records
    assert b"".join(record.strings).decode() == TEXTS[name]
    assert all(len(string) <= 255 for string in record.strings)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("kind", ["AAAA", "TXT", "A"])
async def test_an_unknown_name_does_not_exist(named_harness: Harness, kind: str, tcp: bool) -> None:
    for name in ("unknown.internal", "vms.unknown.internal", "ams.unknown.internal"):
        assert (await query_dns(named_harness, name, kind, tcp=tcp)).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_public_names_are_refused(named_harness: Harness, tcp: bool) -> None:
    """Fly resolves them: F-8.15. Outside the machines' network, flysim refuses names that are not private."""
    for name in ("example.com", "internal.example.com", "."):
        assert (await query_dns(named_harness, name, tcp=tcp)).rcode() == dns.rcode.REFUSED


async def test_a_name_has_no_ipv4_addresses(named_harness: Harness) -> None:
    """6PN is IPv6 only: the name exists, without A records."""
    answer = await query_dns(named_harness, "streams.internal", "A")
    assert (answer.rcode(), values(answer)) == (dns.rcode.NOERROR, [])


async def test_a_stopped_machine_disappears_until_it_starts_again(named_harness: Harness) -> None:
    """F-8.14: apps use it as a liveness test before they replay."""
    name = f"{DFW}.vm.streams.internal"
    assert values(await query_dns(named_harness, name)) == ["fdaa::2"]
    started = MACHINES[1]
    stopped = Machine(DFW, "dfw-1", "streams", "dfw", private_ip="fdaa::2", state=MachineState.STOPPED)
    named_harness.router.fleet = named_harness.router.fleet.with_machine(stopped)
    assert values(await query_dns(named_harness, name)) == []
    named_harness.router.fleet = named_harness.router.fleet.with_machine(started)
    assert values(await query_dns(named_harness, name)) == ["fdaa::2"]


async def test_many_concurrent_queries(named_harness: Harness) -> None:
    answers = await asyncio.gather(
        *[query_dns(named_harness, "dfw.streams.internal", tcp=number % 2 == 0) for number in range(100)]
    )
    assert all(sorted(values(answer)) == ["fdaa::2", "fdaa::3"] for answer in answers)


async def test_several_queries_over_one_connection(named_harness: Harness) -> None:
    assert named_harness.server.dns_address is not None
    reader, writer = await asyncio.open_connection(*named_harness.server.dns_address)
    names = ("ams.streams.internal", "example.com", "unknown.internal")
    for name in names:
        query = dns.message.make_query(name, "AAAA").to_wire()
        writer.write(len(query).to_bytes(2, "big") + query)
    codes = []
    for _ in names:
        size = int.from_bytes(await reader.readexactly(2), "big")
        codes.append(dns.message.from_wire(await reader.readexactly(size)).rcode())
    writer.close()
    assert codes == [dns.rcode.NOERROR, dns.rcode.REFUSED, dns.rcode.NXDOMAIN]


async def test_malformed_queries_are_ignored(named_harness: Harness) -> None:
    assert named_harness.server.dns_address is not None
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=named_harness.server.dns_address
    )
    for data in (b"", b"\0", b"garbage" * 10, bytes(12), bytes(600)):
        transport.sendto(data)
    transport.close()
    assert values(await query_dns(named_harness, f"{AMS}.vm.streams.internal")) == ["fdaa::1"]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["UDP", "TCP"])
async def test_a_port_in_use_is_reported(harness: Harness, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        server = ProxyServer(harness.core, {}, dns_port=port)

        with pytest.raises(
            EnvironmentFault,
            match=f"name server cannot listen on 127.0.0.1:{port}: Address already in use\n  hint: stop the",
        ):
            await server.start()
    with pytest.raises(ConnectionRefusedError):  # no listener is left open
        socket.create_connection(("127.0.0.1", port), timeout=5)


async def test_stopping_the_proxy_closes_dns_connections(named_harness: Harness) -> None:
    assert named_harness.server.dns_address is not None
    reader, writer = await asyncio.open_connection(*named_harness.server.dns_address)
    query = dns.message.make_query("streams.internal", "AAAA").to_wire()
    writer.write(len(query).to_bytes(2, "big") + query)
    await reader.readexactly(2)
    await named_harness.server.stop()
    await reader.read()
    assert reader.at_eof()
    writer.close()


async def test_flycast_names_resolve_to_an_edge_that_routes_to_the_app(harness: Harness) -> None:
    """F-8.20: requests go through the proxy over the private network, with load balancing and replays."""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    await harness.add_machine(DFW, "dfw", responding(OK))
    assert values(await query_dns(harness, "streams.flycast")) == ["::ffff:127.0.0.1"]
    assert (await query_dns(harness, "unknown.flycast")).rcode() == dns.rcode.NXDOMAIN
    client = await harness.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: streams.flycast\r\n\r\n")
    assert (await client.read_response()).body == b"hello"
    assert harness.traces[0].path == ("ams-1", "dfw-1")


# Inside the machines' own network.

INSIDE = Fleet.of(
    [App("streams")],
    [
        Machine(AMS, "ams-1", "streams", "ams", host="10.0.0.1", private_ip="fdaa::1"),
        Machine(DFW, "dfw-1", "streams", "dfw", host="10.0.0.2", private_ip="fdaa::2"),
    ],
)
UPSTREAM = ("127.0.0.11", 53)


def make_flow(name: str, client_ip: str = "10.0.0.9") -> SimpleNamespace:
    """A DNS flow as mitmproxy passes it to the addon."""
    kind: Any = getattr(mitmproxy.dns, "DNSMessage", None) or mitmproxy.dns.Message
    return SimpleNamespace(
        request=kind.unpack(dns.message.make_query(name, "AAAA").to_wire()),
        client_conn=SimpleNamespace(peername=(client_ip, 4242)),
        server_conn=SimpleNamespace(address=None),
        response=None,
    )


def resolve_inside(name: str, client_ip: str = "10.0.0.9") -> list[str]:
    flow = make_flow(name, client_ip)
    NameServer(lambda: INSIDE, "ams", "fdaa::3", UPSTREAM).answer(flow)
    assert flow.server_conn.address is None
    return [str(record.ipv6_address) for record in flow.response.answers]


@pytest.mark.parametrize(
    ("client_ip", "nearest"),
    [("fdaa::1", "fdaa::1"), ("fdaa::2", "fdaa::2"), ("10.0.0.2", "fdaa::2"), ("10.0.0.9", "fdaa::1")],
)
def test_nearest_is_relative_to_the_querying_machine(client_ip: str, nearest: str) -> None:
    """F-8.2: a client that is not a machine counts as in the region of the first edge."""
    assert resolve_inside("top1.nearest.of.streams.internal", client_ip) == [nearest]


def test_inside_the_network_flycast_names_resolve_to_our_private_address() -> None:
    """F-8.20"""
    assert resolve_inside("streams.flycast") == ["fdaa::3"]


def test_inside_the_network_public_names_are_forwarded_upstream() -> None:
    """F-8.15: Fly's name server resolves public names too."""
    flow = make_flow("example.com")

    NameServer(lambda: INSIDE, "ams", "fdaa::3", UPSTREAM).answer(flow)

    assert (flow.server_conn.address, flow.response) == (UPSTREAM, None)


@asynccontextmanager
async def listening(upstream: tuple[str, int]) -> AsyncIterator[tuple[str, int]]:
    """A listener inside the machines' network; yields its address."""
    listener = DnsListener(NameServer(lambda: INSIDE, "ams", "fdaa::3", upstream))
    await listener.start(("127.0.0.1",), 0)
    assert listener.address is not None
    try:
        yield listener.address
    finally:
        await listener.stop()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_the_response_of_the_upstream_server_is_passed_on(transport: str) -> None:
    """F-8.15: Fly's name server resolves public names too."""
    async with name_server(example=("192.0.2.7",)) as upstream, listening(upstream.address) as (host, port):
        ask: Any = dns.asyncquery.tcp if transport == "tcp" else dns.asyncquery.udp
        known = await ask(dns.message.make_query("example", "A"), host, port=port, timeout=5)
        unknown = await ask(dns.message.make_query("unknown", "A"), host, port=port, timeout=5)
    assert values(known) == ["192.0.2.7"]
    assert unknown.rcode() == dns.rcode.NXDOMAIN
    assert upstream.asked == ["example", "unknown"]


async def test_a_listener_stops_in_the_middle_of_a_message_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening(UPSTREAM) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"\0")
        await query_until_answered(address)
    assert await reader.read() == b""
    writer.close()
    await asyncio.sleep(0)  # callbacks of the canceled task
    assert caplog.records == []


async def query_until_answered(address: tuple[str, int]) -> None:
    """A whole exchange on another connection: whatever was sent before it has been accepted."""
    query = dns.message.make_query("streams.internal", "AAAA")
    await dns.asyncquery.tcp(query, address[0], port=address[1], timeout=5)


def test_without_a_configured_name_server_public_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unconfigured(dns.resolver.Resolver):
        def __init__(self) -> None:
            super().__init__(io.StringIO("search example.com\n"))

    monkeypatch.setattr(dns.resolver, "Resolver", Unconfigured)
    assert find_system_name_server() is None


async def test_a_listener_stops_while_the_upstream_server_is_silent() -> None:
    async with name_server() as upstream, listening(upstream.address) as address:
        upstream.is_silent = True
        reader, writer = await asyncio.open_connection(*address)
        query = dns.message.make_query("example", "A").to_wire()
        writer.write(len(query).to_bytes(2, "big") + query)
        await eventually(lambda: upstream.asked == ["example"], "the question at the upstream server")
    assert await reader.read() == b""
    writer.close()


async def test_data_that_is_not_a_query_closes_the_tcp_connection() -> None:
    async with listening(UPSTREAM) as address:
        for data in (b"garbage", b""):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(len(data).to_bytes(2, "big") + data)
            assert await reader.read() == b""
            writer.close()


LABEL_WITH_A_DOT = b"\0\1\1\0\0\1\0\0\0\0\0\0\6web..x\10internal\0\0\34\0\1"


async def test_a_name_that_cannot_be_encoded_gets_no_response_and_no_traceback(
    named_harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    address = named_harness.server.dns_address
    assert address is not None
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=address
    )
    transport.sendto(LABEL_WITH_A_DOT)
    transport.close()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(len(LABEL_WITH_A_DOT).to_bytes(2, "big") + LABEL_WITH_A_DOT)
    assert await reader.read() == b""
    writer.close()
    await query_until_answered(address)
    assert caplog.records == []


def test_only_standard_queries_are_implemented() -> None:
    """RFC 1035, 4.1.1"""
    server = NameServer(lambda: Fleet.of([App("streams")], MACHINES), "ams")
    query = bytearray(dns.message.make_query("streams.internal", "AAAA").to_wire())
    query[2] |= dns.opcode.UPDATE << 3
    response = server.respond(server.parse_query(bytes(query)), "127.0.0.1", 512)
    assert response is not None
    assert response[3] & 15 == dns.rcode.NOTIMP
    assert int.from_bytes(response[6:8], "big") == 0  # answers


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_a_response_that_is_too_large_is_a_server_failure(named_harness: Harness, tcp: bool) -> None:
    many = [
        Machine(f"{number:014x}", f"ams-{number}", "streams", "ams", private_ip=f"fdaa::{number:x}")
        for number in range(1, 3001)
    ]
    named_harness.router.fleet = Fleet.of([App("streams")], many)
    answer = await query_dns(named_harness, "streams.internal", tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.SERVFAIL, [])
