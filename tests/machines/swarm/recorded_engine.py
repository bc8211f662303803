"""Recorded responses of a swarm manager, and copies of them for as many tasks as a test needs."""

from __future__ import annotations

import asyncio
import copy
import io
import json
from pathlib import Path
from typing import Any

from simulator.machines.swarm.task import Node, TaskSnapshot, snapshot_tasks

RECORDED = Path(__file__).parent / "recorded"
SINGLE = "61ebc030226434"
NODE = "fqj56nnwzi1hm017sr8bvepmy"
ROW = "04287365ec"
"""Prefix of the ids of three machines of one service."""


def recorded(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RECORDED / f"{name}.json").read_text())
    return found


def tasks_of_row(count: int) -> list[dict[str, Any]]:
    """The tasks of a service with `count` machines, each on the recorded node with a port of its own."""
    model = next(task for task in recorded("fleet") if ROW in task["Spec"]["ContainerSpec"]["Hostname"])
    return [_another(model, slot) for slot in range(1, count + 1)]


def _another(model: dict[str, Any], slot: int) -> dict[str, Any]:
    task = copy.deepcopy(model)
    task["ID"], task["Slot"] = f"task{slot:021d}", slot
    for port in task["Status"]["PortStatus"]["Ports"]:
        port["PublishedPort"] = 32_768 + slot
    return task


class RecordedManager:
    """A fake of `Manager` with a given list of tasks."""

    is_single_node = True
    node_id = NODE

    def __init__(self, tasks: list[dict[str, Any]]) -> None:
        self.listed = tasks
        self.requests = 0
        self.written: dict[str, list[bytes]] = {}
        """Service id -> the frames of its log."""
        self.log_requests: list[dict[str, str]] = []
        self.logs_read = 0

    async def fetch_tasks(self, stack: str) -> dict[str, TaskSnapshot]:
        self.requests += 1
        return snapshot_tasks(self.listed, {NODE: Node("127.0.0.1")})

    async def services(self, stack: str) -> dict[str, Any]:
        self.requests += 1
        await asyncio.sleep(0)  # A real request yields to the event loop as well.
        return {task["ServiceID"]: {} for task in self.listed}

    def open_log(self, service_id: str, timeout_seconds: float | None = None, **options: str) -> Any:
        self.log_requests.append(options)
        if service_id not in self.written:
            raise ConnectionError("the service has no log")
        return _Log(self, b"".join(self.written[service_id]))


def frame(task_id: str, second: int, text: str) -> bytes:
    """One line of a service's log in the engine's format."""
    line = f"2099-01-01T00:00:{second:02d}.000000000Z com.docker.swarm.task.id={task_id} {text}\n".encode()
    return b"\1\0\0\0" + len(line).to_bytes(4) + line


class _Log(io.BytesIO):
    """A response that ends after its content."""

    def __init__(self, manager: RecordedManager, written: bytes) -> None:
        super().__init__(written)
        self._manager = manager

    @property
    def raw(self) -> _Log:
        return self

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._manager.logs_read += not data
        return data
