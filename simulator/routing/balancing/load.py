"""Load of each machine per service, classified by its limits (F-5.2, F-5.7 to F-5.9)."""

from __future__ import annotations

from enum import IntEnum

from simulator.routing.service import Service

Key = tuple[str, int]
"""Machine id and internal port: limits apply per machine and per service (F-5.9)."""


class LoadClass(IntEnum):
    """The proxy compares classes, not exact numbers (F-5.2)."""

    BELOW_SOFT = 0
    ABOVE_SOFT = 1
    FULL = 2


class Load:
    """Counts deliveries in progress. A WebSocket or event stream counts as long as it is open (F-5.38)."""

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}

    def of(self, machine_id: str, service: Service) -> int:
        return self._counts.get((machine_id, service.internal_port), 0)

    def of_machine(self, machine_id: str) -> int:
        return sum(count for (id, _), count in self._counts.items() if id == machine_id)

    def classify(self, machine_id: str, service: Service) -> LoadClass:
        """A load equal to a limit counts as above it (F-5.3)."""
        load = self.of(machine_id, service)
        if service.hard_limit is not None and load >= service.hard_limit:
            return LoadClass.FULL
        return LoadClass.ABOVE_SOFT if load >= service.soft_limit else LoadClass.BELOW_SOFT

    def take(self, machine_id: str, service: Service) -> Key:
        """Count one more delivery; pass the returned key to `release` when the delivery ends."""
        key = (machine_id, service.internal_port)
        self._counts[key] = self._counts.get(key, 0) + 1
        return key

    def release(self, key: Key) -> None:
        left = self._counts.get(key, 0) - 1
        if left > 0:
            self._counts[key] = left
        else:
            self._counts.pop(key, None)
