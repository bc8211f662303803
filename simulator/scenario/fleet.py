"""The fleet of a scenario: its config, with the environment and seed of the scenario.

Scenarios with the same `FleetKey` run on one simulator, one after the other.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from simulator.config import Config, load_config, parse_config
from simulator.config.yaml_document import Document, KeyPath
from simulator.errors import InputError
from simulator.scenario.file.schema import Scenario

DEFAULT_SEED = 0


@dataclass(frozen=True, slots=True)
class FleetKey:
    """Scenarios with equal keys share a fleet."""

    config: str
    env: tuple[tuple[str, str], ...]
    seed: int
    owner: str = ""
    """Path of the scenario that needs a fleet of its own (`fresh`); empty if the fleet is shared."""


def fleet_key(scenario: Scenario, seed: int | None) -> FleetKey:
    """Return the key of the fleet that a scenario needs. `seed` overrides the seed in the scenario."""
    if scenario.config is not None:
        config = str(_config_path(scenario).resolve())
    else:
        config = json.dumps(
            [str(scenario.path.parent.resolve()), scenario.fleet], sort_keys=True, default=str
        )
    own_seed = scenario.seed if scenario.seed is not None else DEFAULT_SEED
    owner = str(scenario.path) if scenario.fresh else ""
    return FleetKey(
        config, tuple(sorted((scenario.env or {}).items())), own_seed if seed is None else seed, owner
    )


def load_fleet(scenario: Scenario, key: FleetKey) -> Config:
    """Load the config of a scenario. Raises InputError."""
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
    # Normalized for messages: no ".." as in "scenarios/../flysim.toml".
    return Path(os.path.normpath(scenario.path.parent / str(scenario.config)))


def _read(scenario: Scenario, seed: int) -> Config:
    if scenario.fleet is not None:
        return parse_config(scenario.fleet, scenario.path.parent, _InlineSource(scenario.source), seed=seed)
    path = _config_path(scenario)
    if not path.exists():
        mark = scenario.source.find_value(("config",))
        raise InputError(
            f"config: {scenario.config} does not exist",
            path=scenario.path,
            line=mark.line,
            column=mark.column,
            expected=f"a flysim.toml or fly.toml, relative to this file (resolved to {path.resolve()})",
        )
    return load_config(path, seed=seed)


class _InlineSource:
    """The `fleet:` part of a scenario file as the source of a config, for line numbers in messages."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.path = document.path

    def line(self, key_path: KeyPath) -> int | None:
        return self._document.line(("fleet", *key_path))

    def column(self, key_path: KeyPath) -> int | None:
        return self._document.column(("fleet", *key_path))
