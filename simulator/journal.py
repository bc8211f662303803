"""Journal of a running simulator: a bounded history of exchanges and log lines.

It subscribes to the event bus. Routing does not depend on it.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from simulator.events import Bus, Event, ExchangeAnswered, ExchangeFinished, MachineLogged, ProxyLogged
from simulator.routing.trace import Trace

MAX_TRACES = 1_000
MAX_LINES = 500


class Journal:
    """The latest exchanges by `Fly-Request-Id`, and the latest log lines of each machine and of the proxy."""

    def __init__(self, bus: Bus, *, max_traces: int = MAX_TRACES, max_lines: int = MAX_LINES) -> None:
        self._max_traces = max_traces
        self._max_lines = max_lines
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._lines: dict[str, deque[MachineLogged]] = {}
        self._proxy_lines: deque[ProxyLogged] = deque(maxlen=max_lines)
        bus.subscribe(self._remember)

    def _remember(self, event: Event) -> None:
        if isinstance(event, ExchangeAnswered | ExchangeFinished):
            self._traces[event.trace.request_id] = event.trace
            if len(self._traces) > self._max_traces:
                self._traces.popitem(last=False)
        elif isinstance(event, MachineLogged):
            lines = self._lines.get(event.machine_id)
            if lines is None:
                lines = self._lines[event.machine_id] = deque(maxlen=self._max_lines)
            lines.append(event)
        elif isinstance(event, ProxyLogged):
            self._proxy_lines.append(event)

    def find_trace(self, request_id: str) -> Trace | None:
        return self._traces.get(request_id)

    def traces(self) -> tuple[Trace, ...]:
        """All exchanges in the journal, oldest first."""
        return tuple(self._traces.values())

    def log_of(self, machine_id: str) -> tuple[MachineLogged, ...]:
        return tuple(self._lines.get(machine_id, ()))

    def log(self) -> tuple[MachineLogged | ProxyLogged, ...]:
        """All lines in the journal, of machines and proxy, ordered by time."""
        lines: list[MachineLogged | ProxyLogged] = [line for lines in self._lines.values() for line in lines]
        return tuple(sorted([*lines, *self._proxy_lines], key=lambda line: line.at))

    def clear(self) -> None:
        self._traces.clear()
        self._lines.clear()
        self._proxy_lines.clear()
