"""Stream of one creator: a moving picture, a chat, and their viewers.

The queue of a slow viewer keeps the latest frame only, and the last thousand messages.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from sample_app.directory import Machine
from sample_app.picture import Picture

FRAMES_PER_SECOND = 10
REMEMBERED_LINES = 50
LONGEST_LINE = 500
MAX_QUEUED_MESSAGES = 1000


@dataclass(slots=True)
class Traffic:
    """Stream traffic of one machine, in bytes of payload."""

    frames_published: int = 0
    bytes_to_viewers: int = 0
    bytes_copied_in: int = 0
    bytes_copied_out: int = 0


@dataclass(eq=False, slots=True)
class Viewer:
    """Outgoing queue of one viewer, or of one machine that copies the stream for its own viewers."""

    name: str = field(default_factory=lambda: f"Guest {secrets.token_hex(2)}")
    is_machine: bool = False
    watches: bool = False
    """Frames are queued only while this is true."""
    _messages: deque[str | None] = field(default_factory=lambda: deque(maxlen=MAX_QUEUED_MESSAGES))
    _frame: bytes | None = None
    _is_pending: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, message: Mapping[str, object]) -> None:
        self._messages.append(json.dumps(message, ensure_ascii=False))
        self._is_pending.set()

    def show(self, frame: bytes) -> None:
        self._frame = frame
        self._is_pending.set()

    def end(self) -> None:
        self._messages.append(None)
        self._is_pending.set()

    async def next(self) -> str | bytes | None:
        """Waits for the next item to send: messages in order, then the latest frame. None means the end."""
        while True:
            await self._is_pending.wait()
            if self._messages:
                return self._messages.popleft()
            frame, self._frame = self._frame, None
            if frame is not None:
                return frame
            self._is_pending.clear()


class Stream:
    """The chat and the picture of one creator, sent to all viewers."""

    def __init__(self, host: Machine) -> None:
        self.host = host
        self.viewers: set[Viewer] = set()
        self._chat: deque[Mapping[str, object]] = deque(maxlen=REMEMBERED_LINES)
        self._is_watched = asyncio.Event()

    def join(self, viewer: Viewer) -> None:
        """Sends the chat history to the viewer, and everything that follows."""
        self.viewers.add(viewer)
        for line in self._chat:
            viewer.send(line)
        self._update_watched()

    def leave(self, viewer: Viewer) -> None:
        self.viewers.discard(viewer)
        self._update_watched()

    def watch(self, viewer: Viewer, *, watches: bool) -> None:
        viewer.watches = watches
        self._update_watched()

    async def say(self, name: str, text: str) -> None:
        """Adds a chat line of a viewer."""
        self.add_line(name, text)

    def add_line(self, name: str, text: str) -> None:
        """Sends the line to every viewer and keeps it for later ones."""
        line = {"type": "chat", "from": name, "text": text[:LONGEST_LINE]}
        self._chat.append(line)
        self.send(line)

    def send(self, message: Mapping[str, object]) -> None:
        for viewer in self.viewers:
            viewer.send(message)

    def show(self, frame: bytes) -> None:
        for viewer in self.viewers:
            if viewer.watches:
                viewer.show(frame)

    def _update_watched(self) -> None:
        if any(viewer.watches for viewer in self.viewers):
            self._is_watched.set()
        else:
            self._is_watched.clear()


class PublishedStream(Stream):
    """The stream of the creator on this machine. Each frame is computed once for all viewers."""

    def __init__(self, host: Machine, traffic: Traffic) -> None:
        super().__init__(host)
        self._traffic = traffic

    async def run(self) -> None:
        """Runs until it is canceled. Publishes frames only while a viewer watches."""
        picture = Picture(self.host.id)
        while True:
            await self._is_watched.wait()
            self._traffic.frames_published += 1
            self.show(picture.frame(self._traffic.frames_published))
            await asyncio.sleep(1 / FRAMES_PER_SECOND)
