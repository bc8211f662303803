"""What lies between edges and machines: which pairs are cut, how slow the way is, which deliveries are to fail.

Values and questions, no I/O: faults put conditions here, and the proxy asks. Where there is no condition at all
`Links` is false, and nothing else is asked. What comes of a failure is routing's to decide, not settled here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from simulator.routing.errors import Failure
from simulator.routing.model import Machine


@dataclass(eq=False, slots=True, kw_only=True)
class Condition:
    """Holds between the edges and the machines that it names; a side that it leaves out is any."""

    words: str
    """Of the fault that it comes of, for logs and traces."""
    edge: str | None = None
    region: str | None = None
    """Of the machine."""
    machine_id: str | None = None

    def holds(self, edge: str, machine: Machine) -> bool:
        return (
            self.edge in (None, edge)
            and self.region in (None, machine.region)
            and self.machine_id in (None, machine.id)
        )


@dataclass(eq=False, slots=True, kw_only=True)
class Cut(Condition):
    """Nothing gets through, either way. What is under way is held, not lost: TCP would send it again."""


@dataclass(eq=False, slots=True, kw_only=True)
class Delay(Condition):
    """Everything takes so much longer, each way."""

    seconds: float


@dataclass(eq=False, slots=True, kw_only=True)
class Failing(Condition):
    """The next `left` deliveries fail: in the way of the network, or with a status in the machine's name."""

    how: Failure | int
    left: int


@dataclass(eq=False, slots=True, kw_only=True)
class Breaking(Condition):
    """Answers end after so many bytes, and their connections with them; the next `left` of them, or all."""

    after_bytes: int
    left: int | None = None


Kind = TypeVar("Kind", bound=Condition)


class NetworkConditions:
    """The conditions that hold now."""

    def __init__(self) -> None:
        self._conditions: list[Condition] = []
        self._listeners: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return bool(self._conditions)

    def add(self, *conditions: Condition) -> Callable[[], None]:
        """Returns what ends them; one that has ended by itself meanwhile is no matter."""
        self._conditions += conditions
        self._tell()
        return lambda: self._remove(conditions)

    def clear(self) -> None:
        self._remove(tuple(self._conditions))

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """`listener` is told of every change. Returns what ends the subscription."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # What the proxy asks.

    def find_cut(self, edge: str, machine: Machine) -> Cut | None:
        return next(self._that_hold(Cut, edge, machine), None)

    def delays(self, edge: str, machine: Machine) -> tuple[Delay, ...]:
        return tuple(self._that_hold(Delay, edge, machine))

    def delay_seconds(self, edge: str, machine: Machine) -> float:
        """Each way; several add up."""
        return sum(delay.seconds for delay in self._that_hold(Delay, edge, machine))

    def take_failure(self, edge: str, machine: Machine) -> Failing | None:
        """How the delivery that is about to be made is to fail, if it is; it counts as one of them."""
        failing = next(self._that_hold(Failing, edge, machine), None)
        if failing is not None:
            failing.left -= 1
            if not failing.left:
                self._remove((failing,))
        return failing

    def find_breaking(self, edge: str, machine: Machine) -> Breaking | None:
        return next(self._that_hold(Breaking, edge, machine), None)

    def count_broken(self, breaking: Breaking) -> None:
        """One more answer was broken off."""
        if breaking.left is not None:
            breaking.left -= 1
            if not breaking.left:
                self._remove((breaking,))

    def _that_hold(self, kind: type[Kind], edge: str, machine: Machine) -> Iterator[Kind]:
        return (each for each in self._conditions if isinstance(each, kind) and each.holds(edge, machine))

    def _remove(self, ended: tuple[Condition, ...]) -> None:
        self._conditions = [each for each in self._conditions if each not in ended]
        self._tell()

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()


class Meter:
    """How much of one answer has passed, where it is to be broken off after so many bytes."""

    def __init__(self, network: NetworkConditions, edge: str, machine: Machine) -> None:
        self._links = network
        self._edge = edge
        self._machine = machine
        self._breaking: Breaking | None = None
        self._passed_bytes = 0

    def take(self, size: int) -> tuple[int, Breaking] | None:
        """`size` more bytes came: how many of them pass before the break, and its cause; None: all, it goes on.

        A fault that comes while the answer is under way counts what comes from then on.
        """
        breaking = self._links.find_breaking(self._edge, self._machine)
        if breaking is not self._breaking:
            self._breaking, self._passed_bytes = breaking, 0
        if breaking is None:
            return None
        room = breaking.after_bytes - self._passed_bytes
        self._passed_bytes += size
        if size < room or not size:
            return None
        self._links.count_broken(breaking)
        return room, breaking
