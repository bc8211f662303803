"""Replays by a JSON body: the proxy reads the body, transforms the request and does not relay the response."""

from __future__ import annotations

import json

import pytest

from tests.proxy.harness import AMS, DFW, Harness
from tests.proxy.machine import CONTENT_TYPE, OK, MachineWire, replay_head, replaying_body, responding
from tests.proxy.websocket import accept


@pytest.mark.parametrize("status", ["200 OK", "307 Temporary Redirect"])
@pytest.mark.parametrize("content_type", [CONTENT_TYPE, f"{CONTENT_TYPE}; charset=utf-8"])
async def test_a_replay_body_is_followed_and_not_relayed(
    harness: Harness, status: str, content_type: str
) -> None:
    """F-1.75, F-1.83, K-41"""
    body = json.dumps({"instance": DFW}).encode()
    await harness.add_machine(AMS, "ams", responding(replay_head(body, content_type, status)))
    await harness.add_machine(DFW, "dfw", responding(OK))
    response = await (await harness.connect()).fetch()
    assert (response.status, response.body) == (200, b"hello")
    (trace,) = await harness.finished()
    assert trace.path == ("ams-1", "dfw-1")
    assert trace.hops[0].replay == body.decode()


async def test_a_transform_changes_path_and_headers_for_the_target(harness: Harness) -> None:
    """F-1.77, F-1.78, F-1.79"""
    transform = {
        "path": "/inner?x=1",
        "delete_headers": ["cookie"],
        "set_headers": [{"name": "Authorization", "value": "Bearer 7"}],
    }
    await harness.add_machine(AMS, "ams", replaying_body(instance=DFW, transform=transform))
    dfw = await harness.add_machine(DFW, "dfw", responding(OK))
    await (await harness.connect()).fetch(path="/api/inner", headers="cookie: a=b\r\nauthorization: none\r\n")
    (request,) = dfw.requests
    assert request.target == "/inner?x=1"
    assert request.get("authorization") == "Bearer 7"
    assert request.get("cookie") is None
    assert request.get("host") == "streams.fly.dev"


async def test_a_replay_body_that_arrives_in_pieces_is_read_completely(harness: Harness) -> None:
    """F-1.75: the instructions are in the body, so the head alone is not enough."""
    body = replay_head(json.dumps({"instance": DFW}).encode())

    async def in_pieces(wire: MachineWire) -> None:
        await wire.read_request()
        await wire.send_bytewise(body)

    await harness.add_machine(AMS, "ams", in_pieces)
    await harness.add_machine(DFW, "dfw", responding(OK))
    assert (await (await harness.connect()).fetch()).body == b"hello"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"timeout": "soon"}', b'{"instance": 5}'])
async def test_a_malformed_replay_body_ends_in_pa03(harness: Harness, body: bytes) -> None:
    """F-1.84, K-2"""
    await harness.add_machine(AMS, "ams", responding(replay_head(body)))
    response = await (await harness.connect()).fetch()
    assert (response.status, response.body) == (502, b"")
    assert harness.traces[0].error == "PA03"


async def test_an_incomplete_replay_body_ends_in_pa03(harness: Harness) -> None:
    async def breaks_off(wire: MachineWire) -> None:
        await wire.read_request()
        wire.writer.write(replay_head(b'{"instance": "abc"}')[:-4])

    await harness.add_machine(AMS, "ams", breaks_off)
    assert (await (await harness.connect()).fetch()).status == 502
    assert harness.traces[0].error == "PA03"


async def test_a_replay_body_over_the_limit_ends_in_pa03(harness: Harness) -> None:
    body = json.dumps({"instance": DFW, "state": "x" * 1_100_000}).encode()
    await harness.add_machine(AMS, "ams", responding(replay_head(body)))
    assert (await (await harness.connect()).fetch()).status == 502
    assert harness.traces[0].error == "PA03"


async def test_a_replay_body_replays_a_websocket_upgrade(harness: Harness) -> None:
    """F-1.88: a 200 with a JSON replay body, in response to an upgrade."""

    async def echoing(wire: MachineWire) -> None:
        await wire.read_request_head()
        await wire.send(accept() + b"\x82\x02hi")
        await wire.read_to_end()

    await harness.add_machine(AMS, "ams", replaying_body(instance=DFW))
    await harness.add_machine(DFW, "dfw", echoing)
    client, response = await harness.open_websocket()
    assert response.status == 101
    assert await client.read_exactly(4) == b"\x82\x02hi"
