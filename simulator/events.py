"""What happened, as frozen values, and the bus that fans them out.

Publishing is synchronous and never fails the publisher: subscribers are few, trusted and quick. All times are
seconds since the Unix epoch, on the simulated clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulator.routing.model import Fleet, MachineState
from simulator.routing.trace import Trace


@dataclass(frozen=True, slots=True)
class FleetChanged:
    """Any machine joined, left, or changed state, health or cordon."""

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
    """One line that a machine wrote, without its line end."""

    at: float
    machine_id: str
    name: str
    app: str
    region: str
    stream: str  # "stdout" or "stderr"
    line: str


@dataclass(frozen=True, slots=True)
class ProxyLogged:
    """One line of the emulated proxy, in the log of the app it concerns (F-6.1, F-6.2, F-6.62)."""

    at: float
    app: str
    machine_id: str | None
    region: str
    level: str  # "info", "warn" or "error"
    message: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class ExchangeAnswered:
    """The client has its final response head, or the proxy's own rejection; a body or a WebSocket may follow."""

    at: float
    trace: Trace


@dataclass(frozen=True, slots=True)
class ExchangeFinished:
    """Nothing more comes of this exchange: the body is through, the WebSocket closed, or the client left."""

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
    """Hands each event to every subscriber, in the order in which they subscribed."""

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Returns what ends the subscription."""
        self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return unsubscribe

    def publish(self, event: Event) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber(event)
