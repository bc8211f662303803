"""What an engine said once, and as much more of the same as a test wants."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

from simulator.machines.swarm.task import Node, Sighting, sight

RECORDED = Path(__file__).parent / "recorded"
SINGLE = "61ebc030226434"
NODE = "fqj56nnwzi1hm017sr8bvepmy"
ROW = "04287365ec"
"""Of the ids of three machines of one service."""


def recorded(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RECORDED / f"{name}.json").read_text())
    return found


def tasks_of_row(count: int) -> list[dict[str, Any]]:
    """A service of as many machines, each on the recorded node at a port of its own."""
    model = next(task for task in recorded("fleet") if ROW in task["Spec"]["ContainerSpec"]["Hostname"])
    return [_another(model, slot) for slot in range(1, count + 1)]


def _another(model: dict[str, Any], slot: int) -> dict[str, Any]:
    task = copy.deepcopy(model)
    task["ID"], task["Slot"] = f"task{slot:021d}", slot
    for port in task["Status"]["PortStatus"]["Ports"]:
        port["PublishedPort"] = 32_768 + slot
    return task


class RecordedManager:
    """Answers as `Manager` does, with the tasks that it was given."""

    is_alone = True
    node_id = NODE

    def __init__(self, tasks: list[dict[str, Any]]) -> None:
        self.listed = tasks
        self.requests = 0

    async def look(self, stack: str) -> dict[str, Sighting]:
        self.requests += 1
        return sight(self.listed, {NODE: Node("127.0.0.1")})

    async def services(self, stack: str) -> dict[str, Any]:
        self.requests += 1
        await asyncio.sleep(0)  # As an answer that comes from elsewhere.
        return {task["ServiceID"]: {} for task in self.listed}

    def open_log(self, service_id: str, **options: str) -> Any:
        raise ConnectionError("nobody wrote anything")
