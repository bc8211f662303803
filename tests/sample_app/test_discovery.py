"""Discovery over `.internal` DNS and direct WebSockets."""

from __future__ import annotations

import json
import re
import signal
import sys

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.sample_app.running import (
    AMS,
    DFW,
    DFW2,
    RunningApp,
    next_text,
    read_to_the_end,
    running_app,
    running_fleet,
    until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a loopback address for every machine")


async def tabs_become(viewer: ClientConnection, *machine_ids: str) -> None:
    """As seen by an open page over its WebSocket."""
    seen: list[str] = []
    while seen != list(machine_ids):
        message = json.loads(await next_text(viewer))
        seen = [machine["machine"] for machine in message.get("machines", ())]


async def tabs_of(app: RunningApp) -> list[str]:
    async with app.client() as client:
        return re.findall(r'data-machine="(\w+)"', (await client.get("/")).text)


async def test_tabs_follow_their_machines_and_keep_their_order() -> None:
    async with running_fleet(DFW, AMS, DISCOVER_EVERY_SECONDS="0.3") as fleet, fleet[AMS].socket() as viewer:
        await tabs_become(viewer, AMS, DFW)
        await fleet.start(DFW2)
        await tabs_become(viewer, AMS, DFW, DFW2)
        assert await tabs_of(fleet[AMS]) == [AMS, DFW, DFW2]
        assert await fleet.leave(DFW, signal.SIGINT) == 0
        await tabs_become(viewer, AMS, DFW2)
        await fleet.leave(DFW2, signal.SIGKILL)
        await tabs_become(viewer, AMS)
        assert await tabs_of(fleet[AMS]) == [AMS]


async def test_a_machine_announces_its_stop_at_once() -> None:
    """Discovery requests are an hour apart here, so only announcements can have an effect."""
    async with running_fleet(AMS, DISCOVER_EVERY_SECONDS="3600") as fleet, fleet[AMS].socket() as viewer:
        await fleet.start(DFW)
        await tabs_become(viewer, AMS, DFW)
        assert await fleet.leave(DFW, signal.SIGTERM) == 0
        await tabs_become(viewer, AMS)


async def test_messages_between_machines_bypass_the_routing_and_are_not_logged() -> None:
    async with running_fleet(AMS, DFW, DISCOVER_EVERY_SECONDS="0.1") as fleet, fleet[AMS].socket() as viewer:
        await tabs_become(viewer, AMS, DFW)
        assert len(fleet[DFW].lines) == 1, "only the line with the listen address"


async def test_without_a_name_server_a_machine_runs_alone_and_logs_it_once() -> None:
    async with running_fleet(DISCOVER_EVERY_SECONDS="0.02") as fleet:
        fleet.names.is_broken = True
        await fleet.start(AMS)
        await until(lambda: fleet.names.queries > 8, "repeated queries to the name server")
        assert await tabs_of(fleet[AMS]) == [AMS]
        alone = [line for line in fleet[AMS].lines if "Cannot discover" in line]
        why = "no TXT record of vms.streams.internal. (NoNameservers)"
        assert alone == [f"[info] Cannot discover other machines: {why}. Running alone."]
        fleet.names.is_broken = False
        await fleet.start(DFW)
        async with fleet[AMS].socket() as viewer:
            await tabs_become(viewer, AMS, DFW)
        again = [line for line in fleet[AMS].lines if "works again" in line]
        assert again == ["[info] Discovery of other machines works again."]


async def test_a_name_server_that_starts_late_is_not_logged() -> None:
    async with running_fleet(DISCOVER_EVERY_SECONDS="0.3") as fleet:
        fleet.names.is_broken = True
        await fleet.start(AMS)
        await until(lambda: fleet.names.queries > 0, "a query to the name server")
        fleet.names.is_broken = False
        await fleet.start(DFW)
        async with fleet[AMS].socket() as viewer:
            await tabs_become(viewer, AMS, DFW)
        assert not [line for line in fleet[AMS].lines if "iscover" in line]


async def test_a_connection_through_the_proxy_may_not_send_machine_messages() -> None:
    """F-4.1: the proxy sets this header on every request; a direct connection does not have it (F-8.18)."""
    async with running_app(FLY_MACHINE_ID=AMS) as app:
        with pytest.raises(InvalidStatus) as refused:
            await app.socket("/machines", **{"Fly-Client-IP": "198.51.100.7"})
        assert refused.value.response.status_code == 403


async def test_an_invalid_message_between_machines_closes_the_link() -> None:
    async with running_app(FLY_MACHINE_ID=AMS) as app:
        for text in (
            "",
            "[]",
            '{"type": "discover_request"}',
            '{"machine": "a", "region": "b", "creator": "c"}',
        ):
            async with app.socket("/machines") as link:
                await link.send(text)
                assert await read_to_the_end(link) == 1008, text
        assert await tabs_of(app) == [AMS]


async def test_a_discover_request_is_answered_with_machine_region_and_creator() -> None:
    async with running_app(FLY_MACHINE_ID=AMS, FLY_REGION="ams") as app, app.socket("/machines") as link:
        asker = {"machine": DFW, "region": "dfw", "creator": "Ochre Bittern"}
        await link.send(json.dumps({"type": "discover_request", **asker}))
        reply = json.loads(await next_text(link))
        assert reply == {"type": "discover_reply", "machine": AMS, "region": "ams", "creator": "Rosy Osprey"}
        assert await tabs_of(app) == [AMS, DFW], "the sender of the request is known, too"
