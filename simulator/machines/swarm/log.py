"""What the machines of a service write, wherever they stand: followed through the manager, line by line.

A line comes with its task and its moment. Lines that a follower has not passed on when a task ends are fetched then,
from the first moment that is new: Swarm sends them in its own time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from simulator.machines.swarm.manager import Manager

_STREAMS = {1: "stdout", 2: "stderr"}
_HEAD_BYTES = 8
_TASK = "com.docker.swarm.task.id="
_DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    task_id: str
    stream: str
    moment: str
    """RFC 3339 in UTC with nine digits after the dot, as Docker writes it: sorts as it is."""
    text: str


Emit = Callable[[Line], None]


def read_lines(raw: BinaryIO) -> Iterator[Line]:
    """Frames: the number of the stream, three zeros, the size, and one line with what is told of it."""
    while len(head := raw.read(_HEAD_BYTES)) == _HEAD_BYTES:
        stream, size = _STREAMS.get(head[0], "stdout"), int.from_bytes(head[4:])
        line = parse_line(stream, raw.read(size))
        if line is not None:
            yield line


def parse_line(stream: str, data: bytes) -> Line | None:
    moment, _, rest = data.decode(errors="replace").rstrip("\r\n").partition(" ")
    details, _, text = rest.partition(" ")
    task_id = next((each.removeprefix(_TASK) for each in details.split(",") if each.startswith(_TASK)), None)
    return Line(task_id, stream, moment, text) if task_id else None


def epoch_seconds(moment: str) -> str:
    return str(int(datetime.fromisoformat(f"{moment[:19]}+00:00").timestamp()))


class ServiceLog:
    """The lines of one service, each told once, from `open` to `close`."""

    def __init__(self, manager: Manager, service_id: str, emit: Emit, *, since: str = "") -> None:
        self._manager = manager
        self._service_id = service_id
        self._emit = emit
        self._since = {"since": since} if since else {}
        self._loop = asyncio.get_running_loop()
        self._told: dict[tuple[str, str], str] = {}
        """Task and stream -> the moment of the latest line that was told."""
        self._stream: Any = None
        self._is_open = False

    def open(self) -> None:
        if not self._is_open:
            self._is_open = True
            name = f"log of service {self._service_id}"
            threading.Thread(target=self._follow, name=name, daemon=True).start()

    async def drain(self, task_id: str) -> None:
        """Tell what the task wrote last, as far as Swarm still has it."""
        with suppress(Exception):  # TimeoutError, or the service is gone, and its log with it.
            async with asyncio.timeout(_DRAIN_SECONDS):
                for line in await asyncio.to_thread(self._read_all, task_id):
                    self._tell(line)

    def close(self) -> None:
        self._is_open = False
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(Exception):  # It may have broken by itself.
                stream.close()

    def _follow(self) -> None:
        from docker.types import CancellableStream

        with suppress(Exception):  # The engine went away, or the service was removed, or we go.
            response = self._manager.open_log(self._service_id, follow="1", **self._since)
            self._stream = CancellableStream(read_lines(response.raw), response)
            for line in self._stream:
                self._loop.call_soon_threadsafe(self._tell, line)
        self._is_open = False

    def _read_all(self, task_id: str) -> list[Line]:
        told = max((moment for (whose, _), moment in self._told.items() if whose == task_id), default="")
        since = {"since": epoch_seconds(told)} if told else self._since
        with self._manager.open_log(self._service_id, follow="0", **since) as response:
            return [line for line in read_lines(response.raw) if line.task_id == task_id]

    def _tell(self, line: Line) -> None:
        key = (line.task_id, line.stream)
        if self._told.get(key, "") < line.moment:
            self._told[key] = line.moment
            self._emit(line)
