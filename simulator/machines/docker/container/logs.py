"""Log of a container, streamed line by line from the engine for each run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from simulator.errors import EnvironmentFault
from simulator.machines.docker.container.start_fault import is_missing_program_error
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
        """Block until the engine has attached; no line of a container that starts afterwards is missed."""
        self._stream = self._api.attach(self._container_id, stdout=True, stderr=True, stream=True, demux=True)

    def follow(self) -> None:
        """Start to emit lines, including those received since `attach`."""
        threading.Thread(target=self._read, name="docker logs", daemon=True).start()

    def close(self) -> None:
        """Detach from a container that keeps running."""
        with suppress(Exception):  # The connection may be broken already.
            self._stream.close()

    def _read(self) -> None:
        with suppress(Exception):  # The engine closed the connection, or the container was removed.
            for stdout, stderr in self._stream:
                self._forward("stdout", stdout)
                self._forward("stderr", stderr)
        with suppress(Exception):  # Otherwise the garbage collector warns about an unclosed socket.
            self._stream._response.close()
        with suppress(RuntimeError):  # The event loop is closed.
            self._loop.call_soon_threadsafe(self._end)

    def _forward(self, stream: str, data: bytes | None) -> None:
        if data:
            self._loop.call_soon_threadsafe(self._feed, stream, data)

    def _feed(self, stream: str, data: bytes) -> None:
        for line in self._lines[stream].feed(data):
            self._emit(stream, line)

    def _end(self) -> None:
        for stream, lines in self._lines.items():
            for line in lines.flush():
                self._emit(stream, line)
        self.ended.set()


class ContainerLog:
    """The log of one container: one stream for each run, or a new one if the connection broke."""

    def __init__(self, engine: Engine, container_id: str, emit: Emit) -> None:
        self._engine = engine
        self._container_id = container_id
        self._emit = emit
        self._stream: LogStream | None = None
        self._is_starting = False
        self._init_error = ""
        """From Docker's init process, which writes to the same output as the program."""

    @property
    def is_open(self) -> bool:
        return self._stream is not None and not self._stream.ended.is_set()

    async def open(self, *, is_start: bool = False) -> None:
        """`is_start`: before the container starts; otherwise it runs already."""
        self._is_starting, self._init_error = is_start, ""
        self._stream = LogStream(self._engine.api, self._container_id, self._forward)
        try:
            await self._engine.call(self._stream.attach)
        except EnvironmentFault:
            self._stream = None
            raise
        # `follow` only schedules: the caller reports the start of the machine before the first line is emitted.
        self._stream.follow()

    async def find_init_error(self, timeout_seconds: float) -> str:
        """Wait for an error of Docker's init process after the start; "" if there is none.

        The engine reports a successful start even if init cannot find the program.
        """
        await self.wait_for_end(timeout_seconds)
        self._is_starting = False
        return self._init_error

    async def wait_for_end(self, timeout_seconds: float) -> None:
        """Wait for the last line of this run, at most this long."""
        if self._stream is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._stream.ended.wait()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _forward(self, stream: str, line: str) -> None:
        if self._is_starting and is_missing_program_error(line):
            self._init_error = line
        else:
            self._emit(stream, line)
