"""How busy each machine is, per service, and what that means against its limits (F-5.2, F-5.7 to F-5.9)."""

from __future__ import annotations

from enum import IntEnum

from simulator.routing.service import Service

Key = tuple[str, int]
"""Machine id and internal port: limits apply per machine and per service (F-5.9)."""


class LoadClass(IntEnum):
    """All that the proxy looks at (F-5.2)."""

    BELOW_SOFT = 0
    ABOVE_SOFT = 1
    FULL = 2


class Load:
    """Deliveries under way. An open WebSocket or event stream is one as long as it is open (F-5.38)."""

    def __init__(self) -> None:
        self._under_way: dict[Key, int] = {}

    def of(self, machine_id: str, service: Service) -> int:
        return self._under_way.get((machine_id, service.internal_port), 0)

    def of_machine(self, machine_id: str) -> int:
        return sum(count for (its_id, _), count in self._under_way.items() if its_id == machine_id)

    def classify(self, machine_id: str, service: Service) -> LoadClass:
        """At a limit is above it (F-5.3)."""
        load = self.of(machine_id, service)
        if service.hard_limit is not None and load >= service.hard_limit:
            return LoadClass.FULL
        return LoadClass.ABOVE_SOFT if load >= service.soft_limit else LoadClass.BELOW_SOFT

    def take(self, machine_id: str, service: Service) -> Key:
        """One more delivery; give the key back with `release` when it is over."""
        key = (machine_id, service.internal_port)
        self._under_way[key] = self._under_way.get(key, 0) + 1
        return key

    def release(self, key: Key) -> None:
        left = self._under_way.get(key, 0) - 1
        if left > 0:
            self._under_way[key] = left
        else:
            self._under_way.pop(key, None)
