"""Live event streams to any number of clients.

Publishing only puts the event into a bounded queue. A client that reads too slowly is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from simulator.events import Bus, Event

MAX_QUEUED = 1_000
HEARTBEAT_SECONDS = 15.0


class Streams:
    """All open streams. `close` ends them at once."""

    def __init__(
        self, bus: Bus, *, max_queued: int = MAX_QUEUED, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ):
        self._bus = bus
        self._max_queued = max_queued
        self._heartbeat_seconds = heartbeat_seconds
        self._open: set[Subscription] = set()
        self.is_closed = False

    def subscribe(self, *kinds: type[Event]) -> Subscription:
        """Subscribe to events of these classes, or to all events."""
        subscription = Subscription(
            self._bus, kinds, self._max_queued, self._heartbeat_seconds, self._open.discard
        )
        self._open.add(subscription)
        if self.is_closed:
            subscription.end()
        return subscription

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        self.is_closed = True
        for subscription in tuple(self._open):
            subscription.end()


class Subscription:
    """The new events for one client. Iterating yields each event, and None after a heartbeat interval without one."""

    def __init__(
        self,
        bus: Bus,
        kinds: tuple[type[Event], ...],
        max_queued: int,
        heartbeat_seconds: float,
        on_end: Callable[[Subscription], None],
    ) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._kinds = kinds
        self._max_queued = max_queued
        self._heartbeat_seconds = heartbeat_seconds
        self._on_end = on_end
        self._unsubscribe = bus.subscribe(self._receive)
        self.is_ended = False
        self.is_dropped = False

    def _receive(self, event: Event) -> None:
        if self._kinds and not isinstance(event, self._kinds):
            return
        if self._queue.qsize() < self._max_queued:
            self._queue.put_nowait(event)
        else:
            self.is_dropped = True
            self.end()

    def end(self) -> None:
        """End the iteration and discard the events in the queue."""
        if self.is_ended:
            return
        self.is_ended = True
        self._unsubscribe()
        self._on_end(self)
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Event | None]:
        while not self.is_ended:
            event = None
            with suppress(TimeoutError):
                event = await asyncio.wait_for(self._queue.get(), self._heartbeat_seconds)
            if not self.is_ended:
                yield event


class LiveResponse(StreamingResponse):
    """Streams `parts`, which read from the subscription, and ends the subscription when the client disconnects."""

    def __init__(self, parts: AsyncIterator[bytes], media_type: str, subscription: Subscription) -> None:
        super().__init__(parts, media_type=media_type)
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._subscription.end()
