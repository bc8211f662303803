"""Events of the simulator, as frozen dataclasses, and the bus that delivers them to subscribers.

Publishing is synchronous. Subscribers must be fast and must not raise. All times are seconds since the Unix epoch, on
the simulated clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulator.routing.model import Fleet, MachineState
from simulator.routing.trace import Trace


@dataclass(frozen=True, slots=True)
class FleetChanged:
    """A machine was added or removed, or its state, health or cordon changed."""

    at: float
    fleet: Fleet


@dataclass(frozen=True, slots=True)
class MachineStateChanged:
    at: float
    machine_id: str
    name: str
    app: str
    region: str
    before: MachineState
    after: MachineState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MachineHealthChanged:
    at: float
    machine_id: str
    name: str
    app: str
    region: str
    healthy: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MachineLogged:
    """One line of a machine's output, without its line end."""

    at: float
    machine_id: str
    name: str
    app: str
    region: str
    stream: str  # "stdout" or "stderr"
    line: str


@dataclass(frozen=True, slots=True)
class ProxyLogged:
    """One log line of the emulated proxy, in the log of the app it is about (F-6.1, F-6.2, F-6.62)."""

    at: float
    app: str
    machine_id: str | None
    region: str
    level: str  # "info", "warn" or "error"
    message: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class ExchangeAnswered:
    """The client received its final response head, from a machine or the proxy; a body or WebSocket may follow."""

    at: float
    trace: Trace


@dataclass(frozen=True, slots=True)
class ExchangeFinished:
    """The exchange is over: the body is complete, the WebSocket is closed, or the client disconnected."""

    at: float
    trace: Trace


Event = (
    FleetChanged
    | MachineStateChanged
    | MachineHealthChanged
    | MachineLogged
    | ProxyLogged
    | ExchangeAnswered
    | ExchangeFinished
)
Subscriber = Callable[[Event], None]


class Bus:
    """Passes each event to all subscribers, in the order of their subscription."""

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Returns a function that ends the subscription."""
        self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return unsubscribe

    def publish(self, event: Event) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber(event)
