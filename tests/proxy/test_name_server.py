"""The name server of the private network, asked with a real resolver over UDP and TCP (facts, section 8.1)."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import dns.rdatatype
import mitmproxy.dns
import pytest

from simulator.errors import EnvironmentFault
from simulator.proxy import ProxyServer
from simulator.proxy.name_server import NameServer
from simulator.routing import App, Fleet, Machine, MachineState
from tests.proxy.harness import AMS, DFW, DFW_2, Harness
from tests.proxy.machine import OK, answering, replaying

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
def named(harness: Harness) -> Harness:
    harness.router.fleet = Fleet.of([App("streams"), App("api")], MACHINES)
    return harness


async def ask(harness: Harness, name: str, kind: str = "AAAA", *, tcp: bool = False) -> dns.message.Message:
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
    "api.internal": ["fdaa::5"],  # the private network knows no health and no cordon (F-8.18)
}


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("name", ADDRESSES)
async def test_the_addresses_behind_a_name(named: Harness, name: str, tcp: bool) -> None:
    """F-8.1 to F-8.6, F-8.14"""
    answer = await ask(named, name, tcp=tcp)
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
async def test_the_text_behind_a_name(named: Harness, name: str, tcp: bool) -> None:
    """F-8.9 to F-8.13; a text of more than 255 bytes comes as several strings (RFC 1035, 3.3.14)."""
    answer = await ask(named, name, "TXT", tcp=tcp)
    assert answer.rcode() == dns.rcode.NOERROR
    (records,) = answer.answer
    (record,) = records
    assert b"".join(record.strings).decode() == TEXTS[name]
    assert all(len(string) <= 255 for string in record.strings)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("kind", ["AAAA", "TXT", "A"])
async def test_an_unknown_name_does_not_exist(named: Harness, kind: str, tcp: bool) -> None:
    for name in ("nobody.internal", "vms.nobody.internal", "ams.nobody.internal"):
        assert (await ask(named, name, kind, tcp=tcp)).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_public_names_are_refused(named: Harness, tcp: bool) -> None:
    """Not so on Fly: F-8.15. Outside the machines' network ours stays on this computer, and says so."""
    for name in ("example.com", "internal.example.com", "."):
        assert (await ask(named, name, tcp=tcp)).rcode() == dns.rcode.REFUSED


async def test_a_name_with_addresses_has_none_of_the_old_kind(named: Harness) -> None:
    """6PN is IPv6 only: the name exists, without A records."""
    answer = await ask(named, "streams.internal", "A")
    assert (answer.rcode(), values(answer)) == (dns.rcode.NOERROR, [])


async def test_a_machine_that_stops_disappears_and_comes_back(named: Harness) -> None:
    """F-8.14: apps use it as a liveness test before they replay."""
    name = f"{DFW}.vm.streams.internal"
    assert values(await ask(named, name)) == ["fdaa::2"]
    started = MACHINES[1]
    stopped = Machine(DFW, "dfw-1", "streams", "dfw", private_ip="fdaa::2", state=MachineState.STOPPED)
    named.router.fleet = named.router.fleet.with_machine(stopped)
    assert values(await ask(named, name)) == []
    named.router.fleet = named.router.fleet.with_machine(started)
    assert values(await ask(named, name)) == ["fdaa::2"]


async def test_many_questions_at_once(named: Harness) -> None:
    answers = await asyncio.gather(
        *[ask(named, "dfw.streams.internal", tcp=number % 2 == 0) for number in range(100)]
    )
    assert all(sorted(values(answer)) == ["fdaa::2", "fdaa::3"] for answer in answers)


async def test_several_questions_over_one_connection(named: Harness) -> None:
    assert named.server.dns_address is not None
    reader, writer = await asyncio.open_connection(*named.server.dns_address)
    names = ("ams.streams.internal", "example.com", "nobody.internal")
    for name in names:
        query = dns.message.make_query(name, "AAAA").to_wire()
        writer.write(len(query).to_bytes(2, "big") + query)
    codes = []
    for _ in names:
        size = int.from_bytes(await reader.readexactly(2), "big")
        codes.append(dns.message.from_wire(await reader.readexactly(size)).rcode())
    writer.close()
    assert codes == [dns.rcode.NOERROR, dns.rcode.REFUSED, dns.rcode.NXDOMAIN]


async def test_what_is_no_question_does_no_harm(named: Harness) -> None:
    assert named.server.dns_address is not None
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=named.server.dns_address
    )
    for data in (b"", b"\0", b"garbage" * 10, bytes(12), bytes(600)):
        transport.sendto(data)
    transport.close()
    assert values(await ask(named, f"{AMS}.vm.streams.internal")) == ["fdaa::1"]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["UDP", "TCP"])
async def test_a_port_that_another_has_is_told(harness: Harness, kind: socket.SocketKind) -> None:
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
    with socket.create_server(("127.0.0.1", port)):
        pass  # Nothing of it listens.


async def test_the_stop_of_the_proxy_hangs_up_on_askers(named: Harness) -> None:
    assert named.server.dns_address is not None
    reader, writer = await asyncio.open_connection(*named.server.dns_address)
    query = dns.message.make_query("streams.internal", "AAAA").to_wire()
    writer.write(len(query).to_bytes(2, "big") + query)
    await reader.readexactly(2)
    await named.server.stop()
    await reader.read()
    assert reader.at_eof()
    writer.close()


async def test_flycast_names_lead_to_an_edge_and_from_there_to_the_app(harness: Harness) -> None:
    """F-8.20: through the proxy, over the private network, with load balancing and replays."""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    await harness.add_machine(DFW, "dfw", answering(OK))
    assert values(await ask(harness, "streams.flycast")) == ["::ffff:127.0.0.1"]
    assert (await ask(harness, "nobody.flycast")).rcode() == dns.rcode.NXDOMAIN
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


def flow_of(name: str, asker: str = "10.0.0.9") -> SimpleNamespace:
    """A question as it reaches the addon."""
    kind: Any = getattr(mitmproxy.dns, "DNSMessage", None) or mitmproxy.dns.Message
    return SimpleNamespace(
        request=kind.unpack(dns.message.make_query(name, "AAAA").to_wire()),
        client_conn=SimpleNamespace(peername=(asker, 4242)),
        server_conn=SimpleNamespace(address=None),
        response=None,
    )


def answer_inside(name: str, asker: str = "10.0.0.9") -> list[str]:
    flow = flow_of(name, asker)
    NameServer(lambda: INSIDE, "ams", "fdaa::3", UPSTREAM).answer(flow)
    assert flow.server_conn.address is None
    return [str(record.ipv6_address) for record in flow.response.answers]


@pytest.mark.parametrize(
    ("asker", "nearest"),
    [("fdaa::1", "fdaa::1"), ("fdaa::2", "fdaa::2"), ("10.0.0.2", "fdaa::2"), ("10.0.0.9", "fdaa::1")],
)
def test_nearest_is_nearest_to_the_machine_that_asks(asker: str, nearest: str) -> None:
    """F-8.2; whoever is no machine asks as from the first edge."""
    assert answer_inside("top1.nearest.of.streams.internal", asker) == [nearest]


def test_inside_flycast_names_lead_to_our_own_private_address() -> None:
    """F-8.20"""
    assert answer_inside("streams.flycast") == ["fdaa::3"]


def test_inside_public_names_are_asked_of_the_name_server_above() -> None:
    """F-8.15: Fly's name server resolves public names too."""
    flow = flow_of("example.com")

    NameServer(lambda: INSIDE, "ams", "fdaa::3", UPSTREAM).answer(flow)

    assert (flow.server_conn.address, flow.response) == (UPSTREAM, None)
