"""Placeholders in a scenario's strings, and the names they resolve to: machines, edges, captured values.

Only a brace with a name in it is a placeholder (`{dfw-1.id}`, `{edge.ams}`, `{token}`), so JSON (`{"a": 1}`), regular
expressions (`[0-9]{3}`) and shell variables (`${HOME}`) need no escapes. `{{name}}` is a literal `{name}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from simulator.config.problems import suggest
from simulator.errors import InputError
from simulator.routing.model import Machine
from simulator.scenario.simulator_protocol import RunningSimulator

MACHINE_FIELDS = ("id", "name", "region", "app", "address", "private_ip")

_NAME = r"[A-Za-z_][A-Za-z0-9_/-]*(?:\.[A-Za-z0-9_-]+)?"
_PLACEHOLDER = re.compile(rf"\{{\{{({_NAME})\}}\}}|(?<!\$)\{{({_NAME})\}}")

Lookup = Callable[[str], str]
"""Returns the value of a placeholder. Raises InputError for an unknown name."""


def render(text: str, lookup: Lookup) -> str:
    """Replace the placeholders in `text` with their values."""

    def replacement(match: re.Match[str]) -> str:
        literal, name = match.groups()
        return f"{{{literal}}}" if literal else lookup(name)

    return _PLACEHOLDER.sub(replacement, text)


def render_all(value: Any, lookup: Lookup) -> Any:
    """Render every string in lists and mappings, including keys."""
    if isinstance(value, str):
        return render(value, lookup)
    if isinstance(value, list):
        return [render_all(item, lookup) for item in value]
    if isinstance(value, dict):
        return {render_all(key, lookup): render_all(item, lookup) for key, item in value.items()}
    return value


def find_placeholders(text: str) -> Iterator[str]:
    for match in _PLACEHOLDER.finditer(text):
        if match[2]:
            yield match[2]


def unknown_placeholder(name: str, known: list[str]) -> InputError:
    return InputError(
        f"unknown placeholder {{{name}}}{suggest(name, known)}",
        expected=f"one of {', '.join(f'{{{one}}}' for one in known)}; or {{{{{name}}}}} for literal braces",
    )


class NameResolver:
    """Resolves names while a scenario runs.

    A destroyed machine keeps its name: scenarios about stale cookies refer to machines that no longer exist.
    """

    def __init__(self, simulator: RunningSimulator) -> None:
        self._simulator = simulator
        self._machines: dict[str, Machine] = {}
        self._aliases: dict[str, str] = {}
        self.captured: dict[str, str] = {}
        self._update()

    def _update(self) -> None:
        for machine in self._simulator.fleet.machines:
            self._machines[machine.id] = machine

    def add_alias(self, name: str, machine: Machine) -> None:
        """Give a cloned machine its name within the scenario."""
        self._machines[machine.id] = machine
        self._aliases[name] = machine.id

    def find_machine(self, key: str) -> Machine | None:
        """Find a machine by id, name, `app/name` or alias. It may be destroyed; existing machines are preferred."""
        self._update()
        if key in self._aliases:
            return self._machines[self._aliases[key]]
        if key in self._machines:
            return self._machines[key]
        found = [m for m in self._machines.values() if key in (m.name, f"{m.app}/{m.name}")]
        existing = [machine for machine in found if self._simulator.fleet.find(machine.id)]
        return next(iter(existing or found), None)

    def get_machine(self, key: str) -> Machine:
        """Like `find_machine`, but raises InputError with the known names."""
        machine = self.find_machine(key)
        if machine is None:
            raise InputError(f'no machine "{key}"', expected=f"one of {', '.join(self.machine_names())}")
        return machine

    def machine_names(self) -> list[str]:
        return [machine.name for machine in self._machines.values()] + list(self._aliases)

    def name_of(self, machine_id: str) -> str:
        machine = self._machines.get(machine_id)
        return machine.name if machine else machine_id

    def resolve(self, name: str) -> str:
        """Return the value of a placeholder. Raises InputError with the known placeholders."""
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
