"""How machines find one another, over `.internal` names and straight links."""

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
    """As a page that stays open sees them, over its socket."""
    seen: list[str] = []
    while seen != list(machine_ids):
        message = json.loads(await next_text(viewer))
        seen = [machine["machine"] for machine in message.get("machines", ())]


async def tabs_of(app: RunningApp) -> list[str]:
    async with app.client() as client:
        return re.findall(r'data-machine="(\w+)"', (await client.get("/")).text)


async def test_tabs_come_and_go_with_their_machines_and_keep_their_order() -> None:
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


async def test_a_machine_that_stops_says_so_at_once() -> None:
    """Nobody asks anybody for an hour; so whatever is learned was said."""
    async with running_fleet(AMS, DISCOVER_EVERY_SECONDS="3600") as fleet, fleet[AMS].socket() as viewer:
        await fleet.start(DFW)
        await tabs_become(viewer, AMS, DFW)
        assert await fleet.leave(DFW, signal.SIGTERM) == 0
        await tabs_become(viewer, AMS)


async def test_machines_speak_to_one_another_past_the_routing_and_without_a_word_in_the_log() -> None:
    async with running_fleet(AMS, DFW, DISCOVER_EVERY_SECONDS="0.1") as fleet, fleet[AMS].socket() as viewer:
        await tabs_become(viewer, AMS, DFW)
        assert len(fleet[DFW].lines) == 1, "only where it listens"


async def test_without_a_name_server_it_works_alone_and_says_so_once() -> None:
    async with running_fleet(DISCOVER_EVERY_SECONDS="0.02") as fleet:
        fleet.names.is_broken = True
        await fleet.start(AMS)
        await until(lambda: fleet.names.queries > 8, "a name server that is asked again")
        assert await tabs_of(fleet[AMS]) == [AMS]
        alone = [line for line in fleet[AMS].lines if "No other machines" in line]
        why = "no TXT record of vms.streams.internal. (NoNameservers)"
        assert alone == [f"[info] No other machines can be found: {why}. Working alone."]
        fleet.names.is_broken = False
        await fleet.start(DFW)
        async with fleet[AMS].socket() as viewer:
            await tabs_become(viewer, AMS, DFW)
        again = [line for line in fleet[AMS].lines if "Other machines" in line]
        assert again == ["[info] Other machines can be found again."]


async def test_a_name_server_that_comes_a_moment_late_is_not_worth_a_word() -> None:
    async with running_fleet(DISCOVER_EVERY_SECONDS="0.3") as fleet:
        fleet.names.is_broken = True
        await fleet.start(AMS)
        await until(lambda: fleet.names.queries > 0, "a name server that is asked")
        fleet.names.is_broken = False
        await fleet.start(DFW)
        async with fleet[AMS].socket() as viewer:
            await tabs_become(viewer, AMS, DFW)
        assert not [line for line in fleet[AMS].lines if "can be found" in line]


async def test_what_came_through_the_proxy_may_not_speak_as_a_machine() -> None:
    """F-4.1: the proxy sets this header on whatever it passes on; a private link has none (F-8.18)."""
    async with running_app(FLY_MACHINE_ID=AMS) as app:
        with pytest.raises(InvalidStatus) as refused:
            await app.socket("/machines", **{"Fly-Client-IP": "198.51.100.7"})
        assert refused.value.response.status_code == 403


async def test_what_is_no_message_between_machines_ends_the_link() -> None:
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


async def test_a_request_is_answered_with_machine_region_and_creator() -> None:
    async with running_app(FLY_MACHINE_ID=AMS, FLY_REGION="ams") as app, app.socket("/machines") as link:
        asker = {"machine": DFW, "region": "dfw", "creator": "Ochre Bittern"}
        await link.send(json.dumps({"type": "discover_request", **asker}))
        reply = json.loads(await next_text(link))
        assert reply == {"type": "discover_reply", "machine": AMS, "region": "ams", "creator": "Rosy Osprey"}
        assert await tabs_of(app) == [AMS, DFW], "the asker is known, too"
