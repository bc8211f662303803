"""Sticky and copy design: traffic between machines."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from sample_app.picture import FRAME_BYTES
from tests.sample_app.running import (
    AMS,
    DEADLINE_SECONDS,
    DFW,
    RunningApp,
    next_text,
    read_to_the_end,
    running_fleet,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a loopback address for every machine")


async def stats_of(app: RunningApp) -> Any:
    async with app.client() as client:
        return (await client.get("/stats")).json()


async def watch(viewer: ClientConnection, frames: int) -> None:
    await viewer.send('{"type": "watch"}')
    while frames:
        frames -= isinstance(await viewer.recv(), bytes)


async def until_known(app: RunningApp, machine_id: str) -> None:
    async with app.socket() as viewer:
        while machine_id not in await next_text(viewer):
            pass


async def test_sticky_nothing_is_copied_between_machines() -> None:
    async with running_fleet(AMS, DFW) as fleet, fleet[DFW].socket(Cookie=f"fly-machine-id={DFW}") as viewer:
        await watch(viewer, frames=2)
        dallas, amsterdam = await stats_of(fleet[DFW]), await stats_of(fleet[AMS])
    assert (dallas["design"], dallas["viewers"]) == ("sticky", 1)
    assert dallas["bytes_to_viewers"] >= 2 * FRAME_BYTES
    assert [
        stats[key] for stats in (dallas, amsterdam) for key in ("bytes_copied_in", "bytes_copied_out")
    ] == [0] * 4


async def test_copying_each_stream_is_copied_once_per_machine_for_any_number_of_viewers() -> None:
    async with running_fleet(AMS, DFW, STREAM_DESIGN="copy") as fleet:
        await until_known(fleet[AMS], DFW)
        here = f"/ws?creator={DFW}"
        async with (
            fleet[AMS].socket(here) as ann,
            fleet[AMS].socket(here) as bob,
            fleet[DFW].socket() as cleo,
        ):
            hello = json.loads(await next_text(ann))
            assert (hello["machine"], hello["host"], hello["creator"]) == (AMS, DFW, "Ochre Bittern")
            await watch(ann, frames=3)
            await watch(bob, frames=3)
            amsterdam, dallas = await stats_of(fleet[AMS]), await stats_of(fleet[DFW])
            assert amsterdam["viewers"] == 2
            assert dallas["viewers"] == 1
            assert amsterdam["bytes_copied_in"] >= 3 * FRAME_BYTES
            assert (
                amsterdam["bytes_copied_in"]
                <= dallas["bytes_copied_out"]
                <= dallas["frames_published"] * FRAME_BYTES
            )
            await cleo.send('{"type": "chat", "text": "from Dallas"}')
            await ann.send('{"type": "chat", "text": "from Amsterdam"}')
            for viewer in (ann, bob, cleo):
                texts = {json.loads(await next_text(viewer, "chat"))["text"] for _ in range(2)}
                assert texts == {"from Dallas", "from Amsterdam"}


async def test_copying_viewers_are_disconnected_when_the_creators_machine_stops() -> None:
    async with running_fleet(AMS, DFW, STREAM_DESIGN="copy") as fleet:
        await until_known(fleet[AMS], DFW)
        async with fleet[AMS].socket(f"/ws?creator={DFW}") as viewer:
            await watch(viewer, frames=1)
            await fleet.leave(DFW, signal.SIGKILL)
            assert await read_to_the_end(viewer) == 1013
        async with fleet[AMS].socket("/ws?creator=00000000000000") as viewer:
            assert await read_to_the_end(viewer) == 1013


async def test_copying_a_copy_ends_with_its_last_viewer() -> None:
    async with running_fleet(AMS, DFW, STREAM_DESIGN="copy") as fleet:
        await until_known(fleet[AMS], DFW)
        async with fleet[AMS].socket(f"/ws?creator={DFW}") as viewer:
            await watch(viewer, frames=1)
            assert (await stats_of(fleet[DFW]))["copiers"] == 1
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (await stats_of(fleet[DFW]))["copiers"]:
                pass
