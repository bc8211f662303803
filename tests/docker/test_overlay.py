"""`docker compose` with docker-compose.engine.yml: flysim in the project, with access to the engine."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest

from tests.docker.demo import Demo, demo_up, eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

NEW = 5
GRACE_SECONDS = 2.0


def test_a_scaled_service_is_routed_to_without_a_restart_and_down_removes_everything() -> None:
    """A container of `docker compose run` of the same service is not a machine."""
    with demo_up(overlay=True) as demo:
        before, known, start = demo.inspect("simulator"), ids(demo), time.time()
        with demo.events() as events, demo.one_off("dfw", "sleep", "600"):
            demo.compose("up", "-d", "--no-recreate", "--scale", f"dfw={NEW}")
            routed = became_healthy(events, known, NEW)
            assert ids(demo) == known | set(routed)

        # Both times are from this computer's clock, so the time that the test itself takes does not matter.
        eventually(lambda: set(demo.healthy_since(start)) >= set(routed), "the engine's health events")
        healthy = demo.healthy_since(start)
        late = {each: routed[each] - healthy[each] for each in routed}
        assert max(late.values()) <= GRACE_SECONDS, late
        for machine_id in routed:
            page = demo.client.get("/", params={"instance": machine_id}).text
            assert f'data-page-machine="{machine_id}"' in page

        demo.execute("simulator", "flysim", "machine", "clone", "dfw-1")
        (clone,) = ids(demo) - known - set(routed)
        assert f'data-page-machine="{clone}"' in demo.client.get("/", params={"instance": clone}).text

        after = demo.inspect("simulator")
        assert (after["State"]["StartedAt"], after["RestartCount"]) == (before["State"]["StartedAt"], 0)
        demo.compose("down")
        assert demo.remaining() == []


def ids(demo: Demo) -> set[str]:
    return {machine["id"] for machine in demo.machines().values()}


def became_healthy(events: Iterable[dict[str, Any]], known: set[str], count: int) -> dict[str, float]:
    """Id -> since when it is routed to, for the first `count` machines that are not known."""
    since: dict[str, float] = {}
    for event in events:
        if event["type"] == "MachineHealthChanged" and event["healthy"] and event["machine_id"] not in known:
            since.setdefault(event["machine_id"], event["at"])
        if len(since) == count:
            break
    return since
