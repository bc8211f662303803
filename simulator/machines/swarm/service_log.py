"""Log of a Swarm service, followed through the manager, with the task and time of each line.

Swarm sends log lines with a delay. When a task exits, the lines that the stream has not delivered yet are fetched by
a separate request, from the timestamp of the latest known line on.
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
    """RFC 3339 in UTC with nine fractional digits, as Docker writes it: sorts as text."""
    text: str


Emit = Callable[[Line], None]


def read_lines(raw: BinaryIO) -> Iterator[Line]:
    """Parse frames: the number of the stream, three zeros, the size, and one line with its details."""
    while len(head := raw.read(_HEAD_BYTES)) == _HEAD_BYTES:
        stream, size = _STREAMS.get(head[0], "stdout"), int.from_bytes(head[4:])
        line = parse_line(stream, raw.read(size))
        if line is not None:
            yield line


def parse_line(stream: str, data: bytes) -> Line | None:
    timestamp, _, rest = data.decode(errors="backslashreplace").rstrip("\r\n").partition(" ")
    details, _, text = rest.partition(" ")
    task_id = next((each.removeprefix(_TASK) for each in details.split(",") if each.startswith(_TASK)), None)
    return Line(task_id, stream, timestamp, text) if task_id else None


def epoch_seconds(timestamp: str) -> str:
    return str(int(datetime.fromisoformat(f"{timestamp[:19]}+00:00").timestamp()))


class ServiceLog:
    """The lines of one service, each emitted once, from `open` to `close`. `since`: in seconds since 1970."""

    def __init__(self, manager: Manager, service_id: str, emit: Emit, *, since: str = "") -> None:
        self._manager = manager
        self._service_id = service_id
        self._emit = emit
        self._since = since
        self._latest = ""
        """The timestamp of the latest line of all tasks."""
        self._loop = asyncio.get_running_loop()
        self._latest_emitted: dict[tuple[str, str], str] = {}
        """Task and stream -> the timestamp of the latest line emitted."""
        self._stream: Any = None
        self.is_open = False
        """Whether the log is being followed."""
        self._reopen_at = 0.0
        """Monotonic time from which a broken stream may be opened again."""
        self._undrained: set[str] = set()
        """Tasks that have exited and whose remaining lines have not been fetched yet."""
        self._drain_lock = asyncio.Lock()

    def open(self) -> None:
        """Follow the log, unless it is followed already or the previous stream has just failed.

        The task poller calls this at every poll, which also retries a stream that failed.
        """
        if not self.is_open and time.monotonic() >= self._reopen_at:
            self.is_open = True
            name = f"log of service {self._service_id}"
            threading.Thread(target=self._follow, name=name, daemon=True).start()

    async def drain(self, task_id: str) -> None:
        """Emit the remaining lines of a task that has exited. Tasks that exit together are read together."""
        self._undrained.add(task_id)
        with suppress(Exception):  # TimeoutError, or the service and its log have been removed.
            async with asyncio.timeout(_DRAIN_SECONDS), self._drain_lock:
                if task_id not in self._undrained:
                    return
                tasks, self._undrained = self._undrained, set()
                for line in await run_abandonable(self._read, tasks):
                    self._emit_new(line)

    def keep(self, tasks: Container[str]) -> None:
        """Forget all other tasks."""
        self._latest_emitted = {
            each: timestamp for each, timestamp in self._latest_emitted.items() if each[0] in tasks
        }

    def close(self) -> None:
        self.is_open = False
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(Exception):  # The connection may be broken already.
                stream.close()

    def _follow(self) -> None:
        from docker.types import CancellableStream

        with suppress(
            Exception
        ):  # The engine closed the connection, the service was removed, or `close` was called.
            response = self._manager.open_log(
                self._service_id, follow="1", **self._since_filter(self._latest)
            )
            stream = self._stream = CancellableStream(read_lines(response.raw), response)
            if not self.is_open:  # `close` was called in the meantime.
                stream.close()
            for line in stream:
                self._loop.call_soon_threadsafe(self._emit_new, line)
        self._reopen_at = time.monotonic() + _REOPEN_SECONDS
        self.is_open = False

    def _read(self, tasks: AbstractSet[str]) -> list[Line]:
        """Fetch lines of these tasks, from the earliest timestamp that may have new ones. Blocks."""
        latest = [
            max((at for (task_id, _), at in self._latest_emitted.items() if task_id == each), default="")
            for each in tasks
        ]
        since = self._since_filter(min(latest))
        with self._manager.open_log(self._service_id, _DRAIN_SECONDS, follow="0", **since) as response:
            return [line for line in read_lines(response.raw) if line.task_id in tasks]

    def _since_filter(self, timestamp: str) -> dict[str, str]:
        """Query parameters for lines from this timestamp on; "" stands for the `since` of the log."""
        since = epoch_seconds(timestamp) if timestamp else self._since
        return {"since": since} if since else {}

    def _emit_new(self, line: Line) -> None:
        key = (line.task_id, line.stream)
        if self._latest_emitted.get(key, "") < line.timestamp:
            self._latest_emitted[key] = line.timestamp
            self._latest = max(self._latest, line.timestamp)
            self._emit(line)
