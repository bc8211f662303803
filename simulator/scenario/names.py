"""What a scenario's texts can name: machines, edges, and what earlier steps captured.

A machine that has been destroyed keeps its name here, because a stale cookie is just what scenarios are about.
"""

from __future__ import annotations

from simulator.errors import InputError
from simulator.routing.model import Machine
from simulator.scenario.placeholders import unknown_placeholder
from simulator.scenario.simulator_protocol import RunningSimulator

MACHINE_FIELDS = ("id", "name", "region", "app", "address", "private_ip")


class NameResolver:
    def __init__(self, simulator: RunningSimulator) -> None:
        self._simulator = simulator
        self._seen: dict[str, Machine] = {}
        self._aliases: dict[str, str] = {}
        self.captured: dict[str, str] = {}
        self._see()

    def _see(self) -> None:
        for machine in self._simulator.fleet.machines:
            self._seen[machine.id] = machine

    def add_alias(self, name: str, machine: Machine) -> None:
        """A cloned machine's name within the scenario."""
        self._seen[machine.id] = machine
        self._aliases[name] = machine.id

    def find_machine(self, key: str) -> Machine | None:
        """By id, by name, by app/name, or by the name that a step gave; also one that is gone."""
        self._see()
        if key in self._aliases:
            return self._seen[self._aliases[key]]
        if key in self._seen:
            return self._seen[key]
        found = [m for m in self._seen.values() if key in (m.name, f"{m.app}/{m.name}")]
        here = [machine for machine in found if self._simulator.fleet.find(machine.id)]
        return next(iter(here or found), None)

    def get_machine(self, key: str) -> Machine:
        """Raises InputError with the names that there are."""
        machine = self.find_machine(key)
        if machine is None:
            raise InputError(f'no machine "{key}"', expected=f"one of {', '.join(self.machine_names())}")
        return machine

    def machine_names(self) -> list[str]:
        return [machine.name for machine in self._seen.values()] + list(self._aliases)

    def name_of(self, machine_id: str) -> str:
        machine = self._seen.get(machine_id)
        return machine.name if machine else machine_id

    def resolve(self, name: str) -> str:
        """The value of a placeholder. Raises InputError with those that there are."""
        if name in self.captured:
            return self.captured[name]
        head, _, field = name.rpartition(".")
        if head == "edge" and field in self._simulator.edges:
            return self._simulator.edges[field]
        if name == "control":
            return self._simulator.control_url
        machine = self.find_machine(head)
        if machine is not None and field in MACHINE_FIELDS:
            return str(getattr(machine, field))
        raise unknown_placeholder(name, self._known())

    def _known(self) -> list[str]:
        machines = [f"{name}.{field}" for name in self.machine_names() for field in ("id", "region", "name")]
        edges = [f"edge.{region}" for region in self._simulator.edges]
        return [*machines, *edges, "control", *self.captured]
