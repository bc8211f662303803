"""Headers that Fly adds, overwrites and removes in requests and responses (facts, section 4)."""

from __future__ import annotations

import re

import pytest

from simulator.routing import App, RoutingOptions
from tests.proxy.harness import AMS, DFW, DFW_2, Harness, open_harness
from tests.proxy.machine import OK, MachineWire, replaying, responding
from tests.proxy.wire import Message

REQUEST_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}-(ams|dfw)")


async def request_at_machine(
    harness: Harness, headers: str = "", *, edge: str = "ams", tls: bool = False
) -> Message:
    """Send a request and return it as the machine received it."""
    if not harness.machines:
        await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect(edge, tls=tls)
    assert (await client.fetch(headers=headers)).status == 200
    return harness.machines[0].requests[-1]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_the_headers_of_a_request(harness: Harness, tls: bool) -> None:
    """F-4.1 to F-4.8, F-4.11"""
    message = await request_at_machine(harness, tls=tls)
    port = str(harness.port())
    assert message.get("fly-client-ip") == "127.0.0.1"  # F-4.1
    assert message.get("fly-forwarded-port") == port  # F-4.2
    assert message.get("fly-region") == "ams"  # F-4.3
    assert message.get("x-forwarded-for") == "127.0.0.1, 127.0.0.1"  # F-4.4
    assert message.get("x-forwarded-proto") == ("https" if tls else "http")  # F-4.5
    assert message.get("x-forwarded-port") == port  # F-4.6
    assert message.get("x-forwarded-ssl") == ("on" if tls else "off")  # F-4.7
    assert message.get("via") == "1.1 fly.io"  # F-4.8
    assert REQUEST_ID.fullmatch(message.get("fly-request-id") or "")  # F-4.11
    assert message.get("host") == "streams.fly.dev"
    absent = (
        "fly-replay-src",
        "fly-replay-cache-status",
        "fly-replay-failed",
    )  # F-1.47: absent if not replayed
    assert [message.get(name) for name in absent] == [None] * 3


async def test_the_headers_of_an_http_2_request(harness: Harness) -> None:
    """F-4.8: the protocol version is the client's."""
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect_h2(tls=True)
    response = await client.fetch()
    (message,) = ams.requests
    assert (message.get("via"), response.get("via")) == ("2 fly.io", "2 fly.io")
    assert message.get("x-forwarded-proto") == "https"


async def test_each_edge_sends_its_own_region(harness: Harness) -> None:
    """F-4.3: the edge's region, not the machine's; F-4.2: the port of that edge; F-4.11"""
    ams = await harness.add_machine(AMS, "ams", responding(OK))
    for edge in ("ams", "dfw"):
        client = await harness.connect(edge)
        response = await client.fetch()
        message = ams.requests[-1]
        assert (message.get("fly-region"), message.get("fly-forwarded-port")) == (
            edge,
            str(harness.port(edge)),
        )
        assert (response.get("fly-request-id") or "").endswith(f"-{edge}")


async def test_the_headers_of_a_response(harness: Harness) -> None:
    """F-4.8, F-4.11, F-4.21, F-4.22: the machine's own Server is replaced, its Via extended."""
    head = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nVia: 1.1 varnish\r\nFly-Request-Id: mine\r\ncontent-length: 0\r\n\r\n"
    ams = await harness.add_machine(AMS, "ams", responding(head))
    response = await (await harness.connect()).fetch()
    assert re.fullmatch(r"Fly/[0-9a-f]{8} \(\d{4}-\d\d-\d\d\)", response.get("server") or "")
    assert response.get("via") == "1.1 varnish, 1.1 fly.io"
    assert response.get("fly-request-id") == ams.requests[0].get("fly-request-id")


async def test_a_replayed_response_went_through_two_proxies(harness: Harness) -> None:
    """F-1.100"""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    await harness.add_machine(DFW, "dfw", responding(OK))
    assert (await (await harness.connect()).fetch()).get("via") == "1.1 fly.io, 1.1 fly.io"


async def test_request_ids_differ_and_stay_the_same_over_hops(harness: Harness) -> None:
    """F-4.11, F-4.16, K-38"""
    ams = await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    ids = [(await client.fetch()).get("fly-request-id") for _ in range(5)]
    assert len(set(ids)) == 5
    assert [message.get("fly-request-id") for message in ams.requests] == ids
    assert [message.get("fly-request-id") for message in dfw.requests] == ids


CLIENT_SENT = (
    "Fly-Client-IP: 6.6.6.6\r\nfly-region: lhr\r\nFly-Forwarded-Port: 1\r\nfly-request-id: forged\r\n"
    "Fly-Forwarded-Proto: gopher\r\nFly-Forwarded-Ssl: maybe\r\n"
)


async def test_fly_headers_from_a_client_are_overwritten(harness: Harness) -> None:
    """F-4.17"""
    message = await request_at_machine(harness, CLIENT_SENT)
    assert (message.get("fly-client-ip"), message.get("fly-region")) == ("127.0.0.1", "ams")
    assert message.get("fly-forwarded-port") == str(harness.port())
    assert REQUEST_ID.fullmatch(message.get("fly-request-id") or "")
    for forged in ("6.6.6.6", "lhr", "gopher", "maybe", "forged"):
        assert forged not in message.head.decode()


async def test_the_x_forwarded_headers_of_a_client(harness: Harness) -> None:
    """F-4.4, F-4.6, F-4.17: extended or passed through."""
    message = await request_at_machine(
        harness,
        "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nX-Forwarded-Proto: https\r\n"
        "X-Forwarded-Port: 444\r\nX-Forwarded-Ssl: on\r\nVia: 1.0 old\r\n",
    )
    assert message.get("x-forwarded-for") == "1.1.1.1, 2.2.2.2, 127.0.0.1, 127.0.0.1"
    assert message.get("x-forwarded-proto") == "https"
    assert message.get("x-forwarded-port") == "444"
    assert message.get("x-forwarded-ssl") == "on"
    assert message.get("via") == "1.0 old, 1.1 fly.io"


FORGED = (
    "fly-replay-src: instance=evil;region=ams;t=1\r\nFly-Replay-Failed: reason=timeout\r\n"
    "FLY-REPLAY-CACHE-STATUS: hit\r\nfly-preferred-instance-unavailable: evil\r\n"
)


async def test_a_client_cannot_forge_a_replay(harness: Harness) -> None:
    """F-4.18, K-15"""
    message = await request_at_machine(harness, FORGED)
    assert not [name for name, _ in message.fields if name.startswith(("fly-replay", "fly-preferred"))]


async def test_forged_headers_pass_if_configured() -> None:
    """K-15"""
    async with open_harness(RoutingOptions(strip_forged_headers=False)) as harness:
        message = await request_at_machine(harness, FORGED)
        assert message.get("fly-replay-src") == "instance=evil;region=ams;t=1"
        assert message.get("fly-replay-cache-status") == "hit"


async def test_a_forged_source_is_replaced_by_the_real_one(harness: Harness) -> None:
    """F-1.41, K-15: it appears once."""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    await (await harness.connect()).fetch(headers=FORGED)
    assert (dfw.requests[0].get("fly-replay-src") or "").startswith(f"instance={AMS};")


async def test_the_source_of_a_replay(harness: Harness) -> None:
    """F-1.41, F-1.42: instance, region, t in microseconds, and state only if the replay had one."""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    now = harness.clock.now()
    await (await harness.connect()).fetch()
    (message,) = dfw.requests
    match = re.fullmatch(rf"instance={AMS};region=ams;t=(\d+)", message.get("fly-replay-src") or "")
    assert match
    assert 0 <= int(match[1]) / 1e6 - now < 5
    assert message.get("fly-replay-cache-status") == "miss"  # F-1.47, F-1.48


async def test_the_state_of_a_replay_is_passed_on(harness: Harness) -> None:
    """F-1.5, F-1.41, F-1.42"""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW};state=captured_write"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    await (await harness.connect()).fetch()
    assert (dfw.requests[0].get("fly-replay-src") or "").endswith(";state=captured_write")


async def test_each_hop_gets_the_last_replaying_machine_as_source(harness: Harness) -> None:
    """F-1.44, K-16"""
    await harness.add_machine(AMS, "ams", replaying(f"instance={DFW};state=first"))
    dfw = await harness.add_machine(DFW, "dfw", replaying(f"instance={DFW_2}"))
    last = await harness.add_machine(DFW_2, "dfw", responding(OK))
    await (await harness.connect()).fetch()
    assert (dfw.requests[0].get("fly-replay-src") or "").startswith(f"instance={AMS};region=ams;")
    source = last.requests[0].get("fly-replay-src") or ""
    assert source.startswith(f"instance={DFW};region=dfw;")
    assert "state" not in source


async def test_host_and_client_headers_are_kept_across_replays(harness: Harness) -> None:
    """F-1.31, F-4.19: except for the headers of the replay, both machines get the same headers."""
    ams = await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    client = await harness.connect()
    await client.fetch(headers="X-Forwarded-For: 1.1.1.1\r\nCookie: a=b\r\nX-Own: yes\r\n")
    (first,), (second,) = ams.requests, dfw.requests
    added = [field for field in second.fields if field not in first.fields]
    assert [name for name, _ in added] == ["fly-replay-src", "fly-replay-cache-status"]
    assert [field for field in second.fields if field not in added] == first.fields
    assert second.get("host") == "streams.fly.dev"


async def test_a_replay_to_another_app_keeps_the_host(harness: Harness) -> None:
    """F-1.4, F-1.31"""
    fleet = harness.router.fleet
    harness.router.fleet = type(fleet).of([*fleet.apps.values(), App("other")])
    await harness.add_machine(AMS, "ams", replaying("app=other"))
    other = await harness.add_machine(DFW, "dfw", responding(OK), app="other")
    assert (await (await harness.connect()).fetch()).body == b"hello"
    assert other.requests[0].get("host") == "streams.fly.dev"


async def test_an_unavailable_preferred_machine_is_named_to_its_substitute(harness: Harness) -> None:
    """F-1.46, F-4.9"""

    async def handler(wire: MachineWire) -> None:
        while True:
            replayed = (await wire.read_request()).get("fly-replay-src")
            to_unknown = (
                b"HTTP/1.1 307 x\r\nfly-replay: prefer_instance=00000000000000\r\ncontent-length: 0\r\n\r\n"
            )
            await wire.send(OK if replayed else to_unknown)

    ams = await harness.add_machine(AMS, "ams", handler)
    assert (await (await harness.connect()).fetch()).body == b"hello"
    assert ams.requests[1].get("fly-preferred-instance-unavailable") == "00000000000000"


async def test_hop_by_hop_headers_are_not_forwarded(harness: Harness) -> None:
    """F-4.20"""
    message = await request_at_machine(
        harness,
        "Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nProxy-Connection: close\r\n",
    )
    for name in ("connection", "keep-alive", "x-hop", "proxy-connection"):
        assert message.get(name) is None


async def test_an_upgrade_gets_the_same_headers(harness: Harness) -> None:
    """F-4.1 to F-4.11 apply to handshakes too."""
    ams = await harness.add_machine(AMS, "ams", replaying(f"instance={DFW}"))
    dfw = await harness.add_machine(DFW, "dfw", responding(b"HTTP/1.1 400 x\r\ncontent-length: 0\r\n\r\n"))
    client = await harness.connect()
    upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    await client.fetch(path="/ws", headers=upgrade + FORGED)
    for message in (*ams.requests, *dfw.requests):
        assert (message.get("fly-region"), message.get("upgrade")) == ("ams", "websocket")
        assert (message.get("connection") or "").lower() == "upgrade"
    assert ams.requests[0].get("fly-replay-src") is None
    assert (dfw.requests[0].get("fly-replay-src") or "").startswith(f"instance={AMS};")
