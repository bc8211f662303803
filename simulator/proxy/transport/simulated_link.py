"""One connection from an edge to a machine, as the network between them carries it: late, or not at all for a while.

Bytes are held, never lost and never out of their order, as TCP keeps them through a partition. Nothing is held while
there is no fault: then all goes straight on. Waits are on the simulated clock. Where it skips them, it is put forward
when the direction changes: what follows in the same direction is right behind, and was under way meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

from simulator.network_conditions import NetworkConditions
from simulator.proxy.core import ProxyCore
from simulator.routing import Machine

MOST_HELD_BYTES = 1024 * 1024
"""Beyond it the sender is read from no more."""


class _Held(NamedTuple):
    came_at: float
    size: int
    go_on: Callable[[], object]


class SimulatedLink:
    """Stands between the two ends of a connection to `machine`: takes the place of their methods that pass bytes."""

    def __init__(
        self,
        core: ProxyCore,
        edge: str,
        machine: Machine,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._core = core
        self.edge = edge
        self.machine = machine
        self._last_used: LinkDirection | None = None
        self._reader = reader
        self._transport = writer.transport
        self.outward = LinkDirection(self)
        self.inward = LinkDirection(self, self._pace_machine)
        self._take_over(reader, writer)

    def _take_over(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        outward, inward = self.outward, self.inward
        feed, feed_eof = reader.feed_data, reader.feed_eof
        write, write_eof, close, drain = writer.write, writer.write_eof, writer.close, writer.drain

        async def drain_both() -> None:
            await drain()
            await outward.drained()

        reader.feed_data = lambda data: inward.carry(feed, data)  # type: ignore[method-assign]
        reader.feed_eof = lambda: inward.carry(lambda _: feed_eof(), b"")  # type: ignore[method-assign]
        writer.write = lambda data: outward.carry(write, data)  # type: ignore[method-assign]
        writer.write_eof = lambda: outward.carry(lambda _: write_eof(), b"")  # type: ignore[method-assign]
        writer.close = lambda: outward.carry(lambda _: close(), b"")  # type: ignore[method-assign]
        writer.drain = drain_both  # type: ignore[method-assign]

    def is_cut(self) -> bool:
        return self._core.network.find_cut(self.edge, self.machine) is not None

    def delay_seconds(self) -> float:
        return self._core.network.delay_seconds(self.edge, self.machine)

    def set_out(self, lane: LinkDirection) -> bool:
        """Something is sent: whether it has to wait at all. Puts the clock forward where waits are skipped."""
        clock, seconds = self._core.clock, self.delay_seconds()
        has_turned, self._last_used = self._last_used is not lane, lane
        if seconds and not clock.realtime and has_turned:
            clock.pause_seconds(seconds)
        return self.is_cut() or bool(seconds and clock.realtime)

    def wait_seconds(self) -> float:
        """How long something that is held has really to wait, from when it came."""
        return self.delay_seconds() if self._core.clock.realtime else 0.0

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        return self._core.network.subscribe(listener)

    def _pace_machine(self, *, may_send: bool) -> None:
        """The reader paces a machine whose bytes have come through; these have not."""
        if not may_send:
            self._transport.pause_reading()  # type: ignore[attr-defined]
        elif not self._reader._paused and not self._transport.is_closing():  # type: ignore[attr-defined]
            self._transport.resume_reading()  # type: ignore[attr-defined]


class LinkDirection:
    """One direction of it."""

    def __init__(self, link: SimulatedLink, pace: Callable[..., None] | None = None) -> None:
        self._span = link
        self._links = link._core.network
        self._pace = pace
        self._held: deque[_Held] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._has_room = asyncio.Event()
        self._has_room.set()

    def carry(self, go_on: Callable[[Any], object], data: Any) -> None:
        """Pass `data` to `go_on`, now or when the network lets it."""
        if not self._held and (not self._links or not self._span.set_out(self)):
            go_on(data)
            return
        if self._unsubscribe is None:
            self._unsubscribe = self._span.subscribe(self._release)
        came_at = asyncio.get_running_loop().time()
        self._held.append(_Held(came_at, len(data), lambda: go_on(data)))
        self._count(len(data))
        self._release()

    async def drained(self) -> None:
        """Until so much has gone on that more may be sent."""
        await self._has_room.wait()

    def _release(self) -> None:
        """All that may go on goes on."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._held and not self._span.is_cut():
            first = self._held[0]
            due_at = first.came_at + self._span.wait_seconds()
            if due_at > loop.time():
                self._timer = loop.call_at(due_at, self._release)
                return
            self._held.popleft()
            self._count(-first.size)
            first.go_on()
        if not self._held and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def _count(self, size: int) -> None:
        had_room = self._held_bytes < MOST_HELD_BYTES
        self._held_bytes += size
        has_room = self._held_bytes < MOST_HELD_BYTES
        if had_room is has_room:
            return
        (self._has_room.set if has_room else self._has_room.clear)()
        if self._pace is not None:
            self._pace(may_send=has_room)


async def cross(core: ProxyCore, edge: str, machine: Machine, patience_seconds: float) -> bool:
    """Wait as long as the network takes to open a connection, there and back; False: longer than `patience_seconds`."""
    network, clock = core.network, core.clock
    round_trip = 2 * network.delay_seconds(edge, machine)
    if not clock.realtime:
        trip = inf if network.find_cut(edge, machine) else round_trip
        clock.advance(min(trip, patience_seconds))
        return trip < patience_seconds
    try:
        async with asyncio.timeout(patience_seconds):
            await _until_whole(network, edge, machine)
            await asyncio.sleep(round_trip)
    except TimeoutError:
        return False
    return True


async def _until_whole(network: NetworkConditions, edge: str, machine: Machine) -> None:
    changed = asyncio.Event()
    unsubscribe = network.subscribe(changed.set)
    try:
        while network.find_cut(edge, machine):
            changed.clear()
            await changed.wait()
    finally:
        unsubscribe()
