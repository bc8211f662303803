"""Directory of the app's machines: this machine and the known others, each with the creator it hosts.

Every machine sorts it by region and then by id, so that the tabs keep their order when another machine serves the
page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

CITIES = {
    "ams": "Amsterdam",
    "arn": "Stockholm",
    "bom": "Mumbai",
    "cdg": "Paris",
    "dfw": "Dallas",
    "ewr": "Secaucus",
    "fra": "Frankfurt",
    "gru": "São Paulo",
    "iad": "Ashburn",
    "jnb": "Johannesburg",
    "lax": "Los Angeles",
    "lhr": "London",
    "nrt": "Tokyo",
    "ord": "Chicago",
    "sin": "Singapore",
    "sjc": "San Jose",
    "syd": "Sydney",
    "yyz": "Toronto",
}
COLOURS = (
    *("Amber", "Azure", "Coral", "Crimson", "Golden", "Indigo", "Ivory", "Jade"),
    *("Lilac", "Ochre", "Olive", "Pearl", "Rosy", "Ruby", "Silver", "Violet"),
)
BIRDS = (
    *("Avocet", "Bittern", "Curlew", "Dunlin", "Egret", "Falcon", "Gannet", "Heron"),
    *("Ibis", "Jay", "Kestrel", "Lark", "Merlin", "Osprey", "Plover", "Wren"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of this app and the creator that it hosts."""

    id: str
    region: str
    creator: str

    @property
    def city(self) -> str:
        return CITIES.get(self.region, self.region)

    @property
    def slug(self) -> str:
        """The creator's name in URLs, such as `amber-heron`."""
        return self.creator.lower().replace(" ", "-")

    def as_json(self) -> dict[str, str]:
        return {"machine": self.id, "region": self.region, "creator": self.creator}

    @classmethod
    def from_json(cls, message: dict[str, object]) -> Machine:
        """Raises ValueError if one of the three fields is missing or not a string."""
        parts = [message.get(name) for name in ("machine", "region", "creator")]
        machine_id, region, creator = (part if isinstance(part, str) else "" for part in parts)
        if not (machine_id and region and creator):
            raise ValueError(f"expected machine, region and creator, got {message!r}")
        return cls(machine_id, region, creator)


def creator_on(machine_id: str) -> str:
    """The creator on that machine; always the same for the same id."""
    number = crc32(machine_id.encode())
    return f"{COLOURS[number % 16]} {BIRDS[number // 16 % 16]}"


class Directory:
    """Keeps machines until they announce their stop or miss a whole discovery round."""

    def __init__(self, own: Machine) -> None:
        self.own = own
        self._round = 0
        self._others: dict[str, tuple[Machine, int]] = {}
        self._listeners: list[Callable[[], None]] = []

    @property
    def machines(self) -> tuple[Machine, ...]:
        known = (self.own, *(machine for machine, _ in self._others.values()))
        return tuple(sorted(known, key=lambda machine: (machine.region, machine.id)))

    @property
    def others(self) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine is not self.own)

    def find(self, machine_id: str) -> Machine | None:
        return next((machine for machine in self.machines if machine.id == machine_id), None)

    def find_host(self, slug: str) -> Machine | None:
        """The machine whose creator has this slug."""
        return next((machine for machine in self.machines if machine.slug == slug), None)

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def add(self, machine: Machine) -> None:
        if machine.id == self.own.id:
            return
        before = self.machines
        self._others[machine.id] = (machine, self._round)
        self._notify_if_changed(before)

    def remove(self, machine_id: str) -> None:
        before = self.machines
        self._others.pop(machine_id, None)
        self._notify_if_changed(before)

    def begin_round(self) -> None:
        self._round += 1

    def end_round(self) -> None:
        """Removes every machine that was not added since the round began."""
        before = self.machines
        self._others = {id: entry for id, entry in self._others.items() if entry[1] == self._round}
        self._notify_if_changed(before)

    def _notify_if_changed(self, before: tuple[Machine, ...]) -> None:
        if self.machines != before:
            for listener in self._listeners:
                listener()
