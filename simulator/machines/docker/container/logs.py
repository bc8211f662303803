"""What a container writes, line by line, from the moment that it is attached to until it ends; run after run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from simulator.errors import EnvironmentFault
from simulator.machines.docker.container.start_fault import complains_of_program
from simulator.machines.docker.engine import Engine
from simulator.machines.log import LineSplitter

if TYPE_CHECKING:
    from docker.api.client import APIClient

Emit = Callable[[str, str], None]
"""Takes "stdout" or "stderr", and a line."""


class LogStream:
    """The output of one run of one container; `ended` is set after its last line."""

    def __init__(self, api: APIClient, container_id: str, emit: Emit) -> None:
        self.ended = asyncio.Event()
        self._api = api
        self._container_id = container_id
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._lines = {"stdout": LineSplitter(), "stderr": LineSplitter()}
        self._stream: Any = None

    def attach(self) -> None:
        """Blocks until the engine has let us in; a container that starts afterwards is heard from its first word."""
        self._stream = self._api.attach(self._container_id, stdout=True, stderr=True, stream=True, demux=True)

    def follow(self) -> None:
        """From now on its lines are passed on, those that have come since included."""
        threading.Thread(target=self._follow, name="docker logs", daemon=True).start()

    def close(self) -> None:
        """Hear no more of a container that runs on."""
        with suppress(Exception):  # it may have broken by itself
            self._stream.close()

    def _follow(self) -> None:
        with suppress(Exception):  # the engine went away, or the container was removed
            for stdout, stderr in self._stream:
                self._pass_on("stdout", stdout)
                self._pass_on("stderr", stderr)
        with suppress(Exception):  # Left to the garbage collector, it would complain of its closed file.
            self._stream._response.close()
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._end)

    def _pass_on(self, stream: str, data: bytes | None) -> None:
        if data:
            self._loop.call_soon_threadsafe(self._take, stream, data)

    def _take(self, stream: str, data: bytes) -> None:
        for line in self._lines[stream].feed(data):
            self._emit(stream, line)

    def _end(self) -> None:
        for stream, lines in self._lines.items():
            for line in lines.flush():
                self._emit(stream, line)
        self.ended.set()


class ContainerLog:
    """The streams of one container, each of them of one run, or of what was left of it when the one before broke."""

    def __init__(self, engine: Engine, container_id: str, emit: Emit) -> None:
        self._engine = engine
        self._container_id = container_id
        self._emit = emit
        self._stream: LogStream | None = None
        self._is_starting = False
        self._complaint = ""
        """Of Docker's init, which writes where the program would."""

    @property
    def is_open(self) -> bool:
        """Whether lines come in: a stream that has ended may only have broken."""
        return self._stream is not None and not self._stream.ended.is_set()

    async def open(self, *, is_start: bool = False) -> None:
        """`is_start`: before it starts, rather than while it runs."""
        self._is_starting, self._complaint = is_start, ""
        self._stream = LogStream(self._engine.api, self._container_id, self._pass_on)
        try:
            await self._engine.do(self._stream.attach)
        except EnvironmentFault:
            self._stream = None
            raise
        self._stream.follow()  # Not before: whoever has it opened tells first that it runs.

    async def find_complaint(self, seconds: float) -> str:
        """Just after the start: Docker's init starts whatever the program is, and complains of none at once."""
        await self.await_end(seconds)
        self._is_starting = False
        return self._complaint

    async def await_end(self, seconds: float) -> None:
        """The last line of this run, but no longer than that."""
        if self._stream is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stream.ended.wait()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _pass_on(self, stream: str, line: str) -> None:
        if self._is_starting and complains_of_program(line):
            self._complaint = line
        else:
            self._emit(stream, line)
