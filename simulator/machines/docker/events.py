"""Stream of container events from the engine, read by a thread and handled on the event loop."""

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
    def exit_code(self) -> int:
        return int(self.attributes.get("exitCode", "0"))


OnEvent = Callable[[ContainerEvent], None]


class EventStream:
    """Calls `on_event` for every event of any container, and `on_disconnect` when the engine closes the stream."""

    def __init__(self, api: APIClient, on_event: OnEvent, on_disconnect: Callable[[], None]) -> None:
        self._api = api
        self._on_event = on_event
        self._on_disconnect = on_disconnect
        self._loop = asyncio.get_running_loop()
        self._stream: Any = None

    def open(self) -> None:
        """Block until the engine has accepted the subscription; later events are not missed."""
        filters = {"type": "container", "event": list(ACTIONS)}
        self._stream = self._api.events(decode=True, filters=filters)
        threading.Thread(target=self._read, name="docker events", daemon=True).start()

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(Exception):  # The connection may be broken already.
                stream.close()

    def _read(self) -> None:
        with suppress(Exception):  # The engine closed the connection, or `close` did.
            for raw in self._stream:
                actor = raw["Actor"]
                event = ContainerEvent(actor["ID"], raw["Action"], actor.get("Attributes") or {})
                self._loop.call_soon_threadsafe(self._on_event, event)
        if self._stream is not None:
            with suppress(RuntimeError):  # The event loop is closed.
                self._loop.call_soon_threadsafe(self._on_disconnect)
