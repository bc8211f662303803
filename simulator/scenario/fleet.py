"""Which fleet a scenario plays on: its config, read and changed as it asks, and the check of its texts against it.

Scenarios with the same `FleetKey` share one running simulator, one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simulator.config import Config, load_config, parse_config
from simulator.config.problem import Problems, suggest
from simulator.errors import InputError
from simulator.scenario.document import Document, KeyPath
from simulator.scenario.names import MACHINE_FIELDS
from simulator.scenario.schema import Scenario
from simulator.scenario.steps.repeat import ROUND
from simulator.scenario.template import find_placeholders, unknown_placeholder

DEFAULT_SEED = 0


@dataclass(frozen=True, slots=True)
class FleetKey:
    """What makes two scenarios' fleets the same."""

    config: str
    env: tuple[tuple[str, str], ...]
    seed: int


def fleet_key(scenario: Scenario, seed: int | None) -> FleetKey:
    """`seed`, where it is given, is for every scenario, whatever it says itself."""
    if scenario.config is not None:
        config = str(_config_path(scenario).resolve())
    else:
        config = json.dumps(
            [str(scenario.path.parent.resolve()), scenario.fleet], sort_keys=True, default=str
        )
    own_seed = scenario.seed if scenario.seed is not None else DEFAULT_SEED
    return FleetKey(config, tuple(sorted((scenario.env or {}).items())), own_seed if seed is None else seed)


def load_fleet(scenario: Scenario, key: FleetKey) -> Config:
    """Raises InputError."""
    config = _read(scenario, key.seed)
    return replace(
        config,
        apps=tuple(
            replace(
                app,
                machines=tuple(
                    replace(machine, env={**machine.env, **dict(key.env)}) for machine in app.machines
                ),
            )
            for app in config.apps
        ),
    )


def _config_path(scenario: Scenario) -> Path:
    return scenario.path.parent / str(scenario.config)


def _read(scenario: Scenario, seed: int) -> Config:
    if scenario.fleet is not None:
        return parse_config(scenario.fleet, scenario.path.parent, _InlineSource(scenario.source), seed=seed)
    path = _config_path(scenario)
    if not path.exists():
        mark = scenario.source.find_value(("config",))
        raise InputError(
            f"config: {scenario.config} is not there",
            path=scenario.path,
            line=mark.line,
            column=mark.column,
            expected=f"a flysim.toml or fly.toml, relative to this file; this is {path.resolve()}",
        )
    return load_config(path, seed=seed)


class _InlineSource:
    """The part of a scenario's document under `fleet:`, as the reader of configurations sees it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.path = document.path

    def line(self, key_path: KeyPath) -> int | None:
        return self._document.line(("fleet", *key_path))

    def column(self, key_path: KeyPath) -> int | None:
        return self._document.column(("fleet", *key_path))


def check_texts(scenario: Scenario, config: Config, problems: Problems) -> None:
    """Placeholders and edges that cannot be anything in this fleet, so that a typo is told before machines start."""
    document: Document = scenario.source
    known = _known_names(document.data["steps"], config)
    for path, text in _texts(document.data["steps"], ("steps",)):
        for name in find_placeholders(text):
            if not _is_known(name, known):
                problems.take(_at(unknown_placeholder(name, _examples(known)), document, path))
        if path[-1] == "edge" and "{" not in text and text not in config.edges:
            error = InputError(
                f'no edge "{text}"{suggest(text, config.edges)}', expected=f"one of {', '.join(config.edges)}"
            )
            problems.take(_at(error, document, path))


def _at(error: InputError, document: Document, path: KeyPath) -> InputError:
    mark = document.find_value(path)
    return InputError(
        error.problem, path=document.path, line=mark.line, column=mark.column, expected=error.expected
    )


@dataclass(frozen=True, slots=True)
class _KnownNames:
    machines: frozenset[str]
    edges: frozenset[str]
    words: frozenset[str]
    any_machine: bool
    """A clone without a name of its own is named while the scenario runs."""


def _known_names(steps: Any, config: Config) -> _KnownNames:
    machines = {name for spec in config.machines for name in (spec.name, f"{spec.app}/{spec.name}")}
    words = {"control"}
    any_machine = False
    for mapping in _mappings(steps):
        words |= mapping["capture"].keys() if isinstance(mapping.get("capture"), dict) else set()
        words |= {ROUND} if "repeat" in mapping else set()
        if "clone" in mapping:
            machines |= {str(mapping["as"])} if "as" in mapping else set()
            any_machine = any_machine or "as" not in mapping
    return _KnownNames(frozenset(machines), frozenset(config.edges), frozenset(words), any_machine)


def _is_known(name: str, known: _KnownNames) -> bool:
    head, _, field = name.rpartition(".")
    if name in known.words or (head == "edge" and field in known.edges):
        return True
    return field in MACHINE_FIELDS and (head in known.machines or known.any_machine)


def _examples(known: _KnownNames) -> list[str]:
    machines = [
        f"{name}.{field}" for name in sorted(known.machines) if "/" not in name for field in ("id", "region")
    ]
    return [*machines, *(f"edge.{region}" for region in sorted(known.edges)), *sorted(known.words)]


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
