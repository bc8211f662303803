"""Network conditions between edges and machines: cut connections, delays, failing deliveries, resets.

Faults add conditions, and the proxy checks them before each delivery. Without any condition, `NetworkConditions` is
false and the proxy skips the checks. There is no I/O here. How the proxy reacts to a failure is decided by
`simulator.routing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from simulator.routing.errors import Failure
from simulator.routing.model import Machine


@dataclass(eq=False, slots=True, kw_only=True)
class Condition:
    """Applies to connections between the edge and the machines that it names. A field that is None matches any."""

    description: str
    """Describes the fault that added the condition, for logs and traces."""
    edge: str | None = None
    region: str | None = None
    """The region of the machine."""
    machine_id: str | None = None

    def applies(self, edge: str, machine: Machine) -> bool:
        return (
            self.edge in (None, edge)
            and self.region in (None, machine.region)
            and self.machine_id in (None, machine.id)
        )


@dataclass(eq=False, slots=True, kw_only=True)
class Cut(Condition):
    """No data passes in either direction. Data in transit is held, not lost: TCP would retransmit it."""


@dataclass(eq=False, slots=True, kw_only=True)
class Delay(Condition):
    """All data takes `seconds` longer, in each direction."""

    seconds: float


@dataclass(eq=False, slots=True, kw_only=True)
class FailedDeliveries(Condition):
    """The next deliveries fail, with a network failure or an HTTP status in place of the machine's response."""

    failure: Failure | int
    """The network failure or the HTTP status."""
    remaining: int
    """How many more deliveries fail."""


@dataclass(eq=False, slots=True, kw_only=True)
class ResponseResets(Condition):
    """The machine's connection is reset after `after_bytes` of a response body, or of its WebSocket data."""

    after_bytes: int
    remaining: int | None = None
    """How many more responses are reset; None: all."""


Kind = TypeVar("Kind", bound=Condition)


class NetworkConditions:
    """The conditions that currently apply. False if there are none."""

    def __init__(self) -> None:
        self._conditions: list[Condition] = []
        self._listeners: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return bool(self._conditions)

    def add(self, *conditions: Condition) -> Callable[[], None]:
        """Returns a function that removes these conditions. It ignores those that have expired by then."""
        self._conditions += conditions
        self._notify()
        return lambda: self._remove(conditions)

    def clear(self) -> None:
        self._remove(tuple(self._conditions))

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after every change. Returns a function that ends the subscription."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def find_cut(self, edge: str, machine: Machine) -> Cut | None:
        return next(self._matching(Cut, edge, machine), None)

    def delays(self, edge: str, machine: Machine) -> tuple[Delay, ...]:
        return tuple(self._matching(Delay, edge, machine))

    def delay_seconds(self, edge: str, machine: Machine) -> float:
        """The delay in each direction: the sum of all delays that apply."""
        return sum(delay.seconds for delay in self._matching(Delay, edge, machine))

    def take_failure(self, edge: str, machine: Machine) -> FailedDeliveries | None:
        """How the next delivery fails, None if it does not. The call counts as one failed delivery."""
        failing = next(self._matching(FailedDeliveries, edge, machine), None)
        if failing is not None:
            failing.remaining -= 1
            if not failing.remaining:
                self._remove((failing,))
        return failing

    def find_reset(self, edge: str, machine: Machine) -> ResponseResets | None:
        return next(self._matching(ResponseResets, edge, machine), None)

    def count_reset(self, resets: ResponseResets) -> None:
        """Count one reset response."""
        if resets.remaining is not None:
            resets.remaining -= 1
            if not resets.remaining:
                self._remove((resets,))

    def _matching(self, kind: type[Kind], edge: str, machine: Machine) -> Iterator[Kind]:
        return (each for each in self._conditions if isinstance(each, kind) and each.applies(edge, machine))

    def _remove(self, removed: tuple[Condition, ...]) -> None:
        self._conditions = [each for each in self._conditions if each not in removed]
        self._notify()

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()


class ResetTrigger:
    """Counts the bytes of one response, to find the point where a fault resets its connection."""

    def __init__(self, network: NetworkConditions, edge: str, machine: Machine) -> None:
        self._network = network
        self._edge = edge
        self._machine = machine
        self._resets: ResponseResets | None = None
        self._passed_bytes = 0

    def count(self, size: int) -> tuple[int, ResponseResets] | None:
        """Count the next `size` bytes. Returns how many of them pass before a reset, and its cause; None: no reset.

        A condition added in the middle of a response counts from then on.
        """
        resets = self._network.find_reset(self._edge, self._machine)
        if resets is not self._resets:
            self._resets, self._passed_bytes = resets, 0
        if resets is None:
            return None
        remaining = resets.after_bytes - self._passed_bytes
        self._passed_bytes += size
        if size < remaining or not size:
            return None
        self._network.count_reset(resets)
        return remaining, resets
