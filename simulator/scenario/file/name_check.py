"""Static check of the names in a scenario: placeholders, machines, edges and regions that its fleet does not have.

It runs before any machine starts, and reports file and line. Names that depend on the run are checked by the steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulator.config import Config
from simulator.config.problems import Problems, suggest
from simulator.config.yaml_document import Document, KeyPath
from simulator.errors import InputError
from simulator.faults.active import ALL
from simulator.faults.registry import FAULTS
from simulator.scenario.file.schema import Scenario
from simulator.scenario.names import MACHINE_FIELDS, find_placeholders, unknown_placeholder
from simulator.scenario.steps.machine import ACTIONS
from simulator.scenario.steps.repeat import ROUND

_MACHINE_ID = re.compile(r"[0-9a-f]{14}")


def check_names(scenario: Scenario, config: Config, problems: Problems) -> None:
    """Add every unknown name to `problems`."""
    document: Document = scenario.source
    known = _known_names(document.data["steps"], config)
    for path, text in _texts(document.data["steps"], ("steps",)):
        for name in find_placeholders(text):
            if not _is_known(name, known):
                problems.take(_at(unknown_placeholder(name, _examples(known)), document, path))
        if "{" not in text:
            for error in _name_errors(path, text, config, known):
                problems.take(_at(error, document, path))


def _name_errors(path: KeyPath, text: str, config: Config, known: _KnownNames) -> Iterator[InputError]:
    if path[-1] == "edge" and text not in config.edges:
        yield _unknown("edge", text, list(config.edges))
    if _names_region(path) and text not in known.regions:
        yield _unknown("region", text, sorted(known.regions))
    if not _names_machine(path) or known.any_machine or _MACHINE_ID.fullmatch(text):
        return
    if text in (ALL, *FAULTS) and "heal" in path:
        return
    if text not in known.machines and text != "none":
        yield _unknown("machine", text, sorted(name for name in known.machines if "/" not in name))


def _unknown(kind: str, text: str, known: list[str]) -> InputError:
    return InputError(f'no {kind} "{text}"{suggest(text, known)}', expected=f"one of {', '.join(known)}")


def _names_machine(path: KeyPath) -> bool:
    """Whether the value at `path` must be a machine: `served_by: x`, `machine: {stop: [x]}`, `path: [x]`."""
    match [key for key in path if isinstance(key, str)]:
        case [*_, "expect", "served_by" | "path"] | [*_, "direct"] | [*_, "logs", "machine"]:
            return True
        case [*_, "machine", action] if action in ACTIONS:
            return True
        case [*_, ("fault" | "heal"), kind] | [*_, ("fault" | "heal"), kind, "machine"] if kind in FAULTS:
            return not _names_region(path)
        case [*_, "partition" | "heal"] | [*_, "partition", "machine"]:
            return not _names_region(path)
    return False


def _names_region(path: KeyPath) -> bool:
    """Whether the value must be a region with an edge or a machine: `partition: [x, …]`, `between: [x, …]`."""
    match path:
        case [*_, "partition", int()] | [*_, ("partition" | "latency"), "between", int()]:
            return True
        case [*_, "partition", "region"]:
            return True
    return False


def _at(error: InputError, document: Document, path: KeyPath) -> InputError:
    mark = document.find_value(path)
    return InputError(
        error.problem, path=document.path, line=mark.line, column=mark.column, expected=error.expected
    )


@dataclass(frozen=True, slots=True)
class _KnownNames:
    machines: frozenset[str]
    edges: frozenset[str]
    regions: frozenset[str]
    placeholders: frozenset[str]
    any_machine: bool
    """A clone without `as:` gets its name while the scenario runs, so any machine name may exist."""


def _known_names(steps: Any, config: Config) -> _KnownNames:
    machines = {name for spec in config.machines for name in (spec.name, f"{spec.app}/{spec.name}")}
    placeholders = {"control"}
    regions = {*config.edges, *(spec.region for spec in config.machines)}
    any_machine = False
    for mapping in _mappings(steps):
        placeholders |= mapping["capture"].keys() if isinstance(mapping.get("capture"), dict) else set()
        placeholders |= {ROUND} if "repeat" in mapping else set()
        if "clone" in mapping:
            machines |= {str(mapping["as"])} if "as" in mapping else set()
            any_machine = any_machine or "as" not in mapping
            regions |= {str(mapping["region"])} if "region" in mapping else set()
    return _KnownNames(
        frozenset(machines), frozenset(config.edges), frozenset(regions), frozenset(placeholders), any_machine
    )


def _is_known(name: str, known: _KnownNames) -> bool:
    head, _, field = name.rpartition(".")
    if name in known.placeholders or (head == "edge" and field in known.edges):
        return True
    return field in MACHINE_FIELDS and (head in known.machines or known.any_machine)


def _examples(known: _KnownNames) -> list[str]:
    machines = [
        f"{name}.{field}" for name in sorted(known.machines) if "/" not in name for field in ("id", "region")
    ]
    return [*machines, *(f"edge.{region}" for region in sorted(known.edges)), *sorted(known.placeholders)]


def _mappings(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict):
        yield data
    for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from _mappings(value)


def _texts(data: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(data, str):
        yield path, data
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        yield from _texts(value, (*path, key))
