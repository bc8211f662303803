"""What the engine tells of its containers, as it happens, heard by a thread and passed on to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker.api.client import APIClient

ACTIONS = ("start", "die", "pause", "unpause", "destroy")


@dataclass(frozen=True, slots=True)
class ContainerEvent:
    container_id: str
    action: str
    attributes: dict[str, str]

    @property
    def exit_status(self) -> int:
        return int(self.attributes.get("exitCode", "0"))


Hear = Callable[[ContainerEvent], None]


class EventStream:
    """Calls `hear` on the event loop with every event of any container, and `lost` when the engine hangs up."""

    def __init__(self, api: APIClient, hear: Hear, lost: Callable[[], None]) -> None:
        self._api = api
        self._hear = hear
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._stream: Any = None

    def open(self) -> None:
        """Blocks until the engine listens: what happens afterwards is heard."""
        filters = {"type": "container", "event": list(ACTIONS)}
        self._stream = self._api.events(decode=True, filters=filters)
        threading.Thread(target=self._follow, name="docker events", daemon=True).start()

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(Exception):  # it may have broken by itself
                stream.close()

    def _follow(self) -> None:
        with suppress(Exception):  # the engine went away, or we do
            for raw in self._stream:
                actor = raw["Actor"]
                event = ContainerEvent(actor["ID"], raw["Action"], actor.get("Attributes") or {})
                self._loop.call_soon_threadsafe(self._hear, event)
        if self._stream is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._lost)
