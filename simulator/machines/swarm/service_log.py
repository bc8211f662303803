"""What the machines of a service write, wherever they stand: followed through the manager, line by line.

A line comes with its task and its moment. Lines that a follower has not passed on when a task ends are fetched then,
from the first moment that is new: Swarm sends them in its own time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Container, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from simulator.cancellation import run_abandonable
from simulator.machines.swarm.manager import Manager

_STREAMS = {1: "stdout", 2: "stderr"}
_HEAD_BYTES = 8
_TASK = "com.docker.swarm.task.id="
_DRAIN_SECONDS = 10.0
_REOPEN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Line:
    task_id: str
    stream: str
    timestamp: str
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
    timestamp, _, rest = data.decode(errors="replace").rstrip("\r\n").partition(" ")
    details, _, text = rest.partition(" ")
    task_id = next((each.removeprefix(_TASK) for each in details.split(",") if each.startswith(_TASK)), None)
    return Line(task_id, stream, timestamp, text) if task_id else None


def epoch_seconds(timestamp: str) -> str:
    return str(int(datetime.fromisoformat(f"{timestamp[:19]}+00:00").timestamp()))


class ServiceLog:
    """The lines of one service, each told once, from `open` to `close`."""

    def __init__(self, manager: Manager, service_id: str, emit: Emit, *, since: str = "") -> None:
        self._manager = manager
        self._service_id = service_id
        self._emit = emit
        self._since = since
        self._latest = ""
        """The moment of the latest line of all."""
        self._loop = asyncio.get_running_loop()
        self._latest_emitted: dict[tuple[str, str], str] = {}
        """Task and stream -> the moment of the latest line that was told."""
        self._stream: Any = None
        self.is_open = False
        """Whether it is followed."""
        self._reopen_at = 0.0
        """When, by the monotonic clock, a stream that broke may be opened again."""
        self._undrained: set[str] = set()
        """Tasks that have ended, and whose last lines nobody has read yet."""
        self._drain_lock = asyncio.Lock()

    def open(self) -> None:
        """Follow it, unless it is followed already, or that has just failed."""
        if not self.is_open and time.monotonic() >= self._reopen_at:
            self.is_open = True
            name = f"log of service {self._service_id}"
            threading.Thread(target=self._follow, name=name, daemon=True).start()

    async def drain(self, task_id: str) -> None:
        """Tell what the task wrote last, as far as Swarm still has it; tasks that end together are read together."""
        self._undrained.add(task_id)
        with suppress(Exception):  # TimeoutError, or the service is gone, and its log with it.
            async with asyncio.timeout(_DRAIN_SECONDS), self._drain_lock:
                if task_id not in self._undrained:
                    return
                tasks, self._undrained = self._undrained, set()
                for line in await run_abandonable(self._read, tasks):
                    self._emit_new(line)

    def keep(self, tasks: Container[str]) -> None:
        """Forget all others: nothing is to be told of them any more."""
        self._latest_emitted = {
            each: timestamp for each, timestamp in self._latest_emitted.items() if each[0] in tasks
        }

    def close(self) -> None:
        self.is_open = False
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(Exception):  # It may have broken by itself.
                stream.close()

    def _follow(self) -> None:
        from docker.types import CancellableStream

        with suppress(Exception):  # The engine went away, or the service was removed, or we go.
            response = self._manager.open_log(
                self._service_id, follow="1", **self._since_filter(self._latest)
            )
            stream = self._stream = CancellableStream(read_lines(response.raw), response)
            if not self.is_open:  # We have gone meanwhile.
                stream.close()
            for line in stream:
                self._loop.call_soon_threadsafe(self._emit_new, line)
        self._reopen_at = time.monotonic() + _REOPEN_SECONDS
        self.is_open = False

    def _read(self, tasks: AbstractSet[str]) -> list[Line]:
        """Blocks. What they wrote, from the first moment on that is new of any of them."""
        told = [
            max((at for (whose, _), at in self._latest_emitted.items() if whose == each), default="")
            for each in tasks
        ]
        since = self._since_filter(min(told))
        with self._manager.open_log(self._service_id, _DRAIN_SECONDS, follow="0", **since) as response:
            return [line for line in read_lines(response.raw) if line.task_id in tasks]

    def _since_filter(self, timestamp: str) -> dict[str, str]:
        """Of a request for its lines, from that moment on; empty: from when on they are of interest at all."""
        since = epoch_seconds(timestamp) if timestamp else self._since
        return {"since": since} if since else {}

    def _emit_new(self, line: Line) -> None:
        key = (line.task_id, line.stream)
        if self._latest_emitted.get(key, "") < line.timestamp:
            self._latest_emitted[key] = line.timestamp
            self._latest = max(self._latest, line.timestamp)
            self._emit(line)
