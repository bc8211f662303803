"""What a container writes, line by line, from the moment that it is attached to until it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

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
