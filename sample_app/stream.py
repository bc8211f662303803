"""One creator's stream: a moving picture, a chat, and the viewers that both go to.

A viewer who is slow misses frames first: of those only the latest waits to be sent. Of messages the last
thousand do.
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
MOST_WAITING = 1000


@dataclass(slots=True)
class Traffic:
    """What one machine has sent and received of streams, in bytes of payload."""

    frames_published: int = 0
    bytes_to_viewers: int = 0
    bytes_copied_in: int = 0
    bytes_copied_out: int = 0


@dataclass(eq=False, slots=True)
class Viewer:
    """What is still to be sent to one viewer, or to one machine that copies the stream for its own viewers."""

    name: str = field(default_factory=lambda: f"Guest {secrets.token_hex(2)}")
    is_machine: bool = False
    watches: bool = False
    """Frames only come to one who watches."""
    _messages: deque[str | None] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    _frame: bytes | None = None
    _something_waits: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, message: Mapping[str, object]) -> None:
        self._messages.append(json.dumps(message, ensure_ascii=False))
        self._something_waits.set()

    def show(self, frame: bytes) -> None:
        self._frame = frame
        self._something_waits.set()

    def end(self) -> None:
        self._messages.append(None)
        self._something_waits.set()

    async def next(self) -> str | bytes | None:
        """Waits for the next thing to send: messages in their order, then the latest frame; None at the end."""
        while True:
            await self._something_waits.wait()
            if self._messages:
                return self._messages.popleft()
            frame, self._frame = self._frame, None
            if frame is not None:
                return frame
            self._something_waits.clear()


class Stream:
    """What the viewers of one creator share."""

    def __init__(self, host: Machine) -> None:
        self.host = host
        self.viewers: set[Viewer] = set()
        self._chat: deque[Mapping[str, object]] = deque(maxlen=REMEMBERED_LINES)
        self._is_watched = asyncio.Event()

    def join(self, viewer: Viewer) -> None:
        """The viewer gets what was said before, and everything from now on."""
        self.viewers.add(viewer)
        for line in self._chat:
            viewer.tell(line)
        self._note_watching()

    def leave(self, viewer: Viewer) -> None:
        self.viewers.discard(viewer)
        self._note_watching()

    def watch(self, viewer: Viewer, *, watches: bool) -> None:
        viewer.watches = watches
        self._note_watching()

    async def say(self, name: str, text: str) -> None:
        """One line of chat by one of the viewers."""
        self.add_line(name, text)

    def add_line(self, name: str, text: str) -> None:
        """To every viewer, and to those who come later."""
        line = {"type": "chat", "from": name, "text": text[:LONGEST_LINE]}
        self._chat.append(line)
        self.tell(line)

    def tell(self, message: Mapping[str, object]) -> None:
        for viewer in self.viewers:
            viewer.tell(message)

    def show(self, frame: bytes) -> None:
        for viewer in self.viewers:
            if viewer.watches:
                viewer.show(frame)

    def _note_watching(self) -> None:
        if any(viewer.watches for viewer in self.viewers):
            self._is_watched.set()
        else:
            self._is_watched.clear()


class PublishedStream(Stream):
    """The stream of the creator on this machine. Published once, here, however many watch."""

    def __init__(self, host: Machine, traffic: Traffic) -> None:
        super().__init__(host)
        self._traffic = traffic

    async def run(self) -> None:
        """For the life of the machine; to be cancelled. Draws only while somebody watches."""
        picture = Picture(self.host.id)
        while True:
            await self._is_watched.wait()
            self._traffic.frames_published += 1
            self.show(picture.frame(self._traffic.frames_published))
            await asyncio.sleep(1 / FRAMES_PER_SECOND)
