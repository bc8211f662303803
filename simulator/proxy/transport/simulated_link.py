"""Simulated network link of one connection from an edge to a machine: delays and holds its data.

Data is held, never lost or reordered, as with TCP during a partition. Without a fault, everything passes at once.
Delays run on the simulated clock. If the clock skips waits, it advances by the delay when the direction of the data
changes: data that follows in the same direction travels at the same time, so it adds no further delay.
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

MAX_HELD_BYTES = 1024 * 1024
"""The sender is no longer read while a direction holds this much."""


class _Held(NamedTuple):
    arrived_at: float
    size: int
    deliver: Callable[[], object]


class SimulatedLink:
    """Wraps the reader and the writer of a connection to `machine`: replaces their methods that pass data."""

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
        self._last_direction: LinkDirection | None = None
        self._reader = reader
        self._transport = writer.transport
        self.outward = LinkDirection(self)
        self.inward = LinkDirection(self, self._throttle_machine)
        self._wrap(reader, writer)

    def _wrap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        outward, inward = self.outward, self.inward
        feed, feed_eof = reader.feed_data, reader.feed_eof
        write, write_eof, close, drain = writer.write, writer.write_eof, writer.close, writer.drain

        async def drain_both() -> None:
            await drain()
            await outward.drained()

        reader.feed_data = lambda data: inward.forward(feed, data)  # type: ignore[method-assign]
        reader.feed_eof = lambda: inward.forward(lambda _: feed_eof(), b"")  # type: ignore[method-assign]
        writer.write = lambda data: outward.forward(write, data)  # type: ignore[method-assign]
        writer.write_eof = lambda: outward.forward(lambda _: write_eof(), b"")  # type: ignore[method-assign]
        writer.close = lambda: outward.forward(lambda _: close(), b"")  # type: ignore[method-assign]
        writer.drain = drain_both  # type: ignore[method-assign]

    def is_cut(self) -> bool:
        return self._core.network.find_cut(self.edge, self.machine) is not None

    def delay_seconds(self) -> float:
        return self._core.network.delay_seconds(self.edge, self.machine)

    def begin_transfer(self, direction: LinkDirection) -> bool:
        """Start a transfer in `direction`. Returns whether the data must be held.

        If the clock skips waits, this advances it by the delay instead.
        """
        clock, seconds = self._core.clock, self.delay_seconds()
        has_turned, self._last_direction = self._last_direction is not direction, direction
        if seconds and not clock.realtime and has_turned:
            clock.pause_seconds(seconds)
        return self.is_cut() or bool(seconds and clock.realtime)

    def hold_seconds(self) -> float:
        """How long data is held after its arrival, in real seconds."""
        return self.delay_seconds() if self._core.clock.realtime else 0.0

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        return self._core.network.subscribe(listener)

    def _throttle_machine(self, *, may_send: bool) -> None:
        """Pause or resume reading from the machine: its reader does not count held data in its own limit."""
        if not may_send:
            self._transport.pause_reading()  # type: ignore[attr-defined]
        elif not self._reader._paused and not self._transport.is_closing():  # type: ignore[attr-defined]
            self._transport.resume_reading()  # type: ignore[attr-defined]


class LinkDirection:
    """One direction of a link. `throttle` is called when the held data reaches or falls below MAX_HELD_BYTES."""

    def __init__(self, link: SimulatedLink, throttle: Callable[..., None] | None = None) -> None:
        self._link = link
        self._network = link._core.network
        self._throttle = throttle
        self._held: deque[_Held] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._has_room = asyncio.Event()
        self._has_room.set()

    def forward(self, deliver: Callable[[Any], object], data: Any) -> None:
        """Call `deliver` with `data`: at once, or when the network conditions allow it."""
        if not self._held and (not self._network or not self._link.begin_transfer(self)):
            deliver(data)
            return
        if self._unsubscribe is None:
            self._unsubscribe = self._link.subscribe(self._release)
        arrived_at = asyncio.get_running_loop().time()
        self._held.append(_Held(arrived_at, len(data), lambda: deliver(data)))
        self._count(len(data))
        self._release()

    async def drained(self) -> None:
        """Wait until the held data is below MAX_HELD_BYTES."""
        await self._has_room.wait()

    def _release(self) -> None:
        """Deliver all held data that is due."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._held and not self._link.is_cut():
            first = self._held[0]
            due_at = first.arrived_at + self._link.hold_seconds()
            if due_at > loop.time():
                self._timer = loop.call_at(due_at, self._release)
                return
            self._held.popleft()
            self._count(-first.size)
            first.deliver()
        if not self._held and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def _count(self, size: int) -> None:
        had_room = self._held_bytes < MAX_HELD_BYTES
        self._held_bytes += size
        has_room = self._held_bytes < MAX_HELD_BYTES
        if had_room is has_room:
            return
        (self._has_room.set if has_room else self._has_room.clear)()
        if self._throttle is not None:
            self._throttle(may_send=has_room)


async def simulate_connect(core: ProxyCore, edge: str, machine: Machine, timeout_seconds: float) -> bool:
    """Wait one round trip, as a TCP handshake does. Returns False if it takes longer than `timeout_seconds`."""
    network, clock = core.network, core.clock
    round_trip = 2 * network.delay_seconds(edge, machine)
    if not clock.realtime:
        duration = inf if network.find_cut(edge, machine) else round_trip
        clock.advance(min(duration, timeout_seconds))
        return duration < timeout_seconds
    try:
        async with asyncio.timeout(timeout_seconds):
            await _wait_until_connected(network, edge, machine)
            await asyncio.sleep(round_trip)
    except TimeoutError:
        return False
    return True


async def _wait_until_connected(network: NetworkConditions, edge: str, machine: Machine) -> None:
    changed = asyncio.Event()
    unsubscribe = network.subscribe(changed.set)
    try:
        while network.find_cut(edge, machine):
            changed.clear()
            await changed.wait()
    finally:
        unsubscribe()
