"""docs/configuration.md documents every key with its default, and its examples load."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from simulator.config import load_config
from simulator.config.document import AppTable, ControlTable, Document, MachineTable
from simulator.config.model import PLACEHOLDERS
from simulator.routing.options import RoutingOptions

REFERENCE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", REFERENCE, re.DOTALL | re.MULTILINE)
ROWS = re.findall(r"^\| (`[^|]+) \|.*\| (.*?) ?\|$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_loads_without_a_warning(example: str, tmp_path: Path) -> None:
    fly_toml = 'app = "chat"\n[http_service]\nauto_start_machines = false\n'
    (tmp_path / "fly.toml").write_text(fly_toml)
    is_fly = "[processes]" in example
    path = tmp_path / ("fly.toml" if is_fly else "flysim.toml")
    path.write_text(example)

    config = load_config(path)

    assert config.machines
    assert is_fly or config.warnings == ()


@pytest.mark.parametrize("table", [Document, AppTable, MachineTable, ControlTable])
def test_every_key_is_documented(table: type) -> None:
    documented = set(re.findall(r"`\[*([a-z_]+)[^`]*`", " ".join(keys for keys, _ in ROWS) + REFERENCE))
    assert set(table.model_fields) - documented == set()  # type: ignore[attr-defined]


def test_every_proxy_key_is_documented_with_its_default() -> None:
    defaults = {key.strip("`"): default.strip("`") for key, default in ROWS}
    expected = RoutingOptions()
    for option in fields(RoutingOptions):
        assert option.name in defaults
        documented = tomllib.loads(f"it = {defaults[option.name]}")["it"]
        value = getattr(expected, option.name)
        assert documented == (list(value) if isinstance(value, tuple) else value), option.name


def test_every_placeholder_is_documented() -> None:
    keys = " ".join(keys for keys, _ in re.findall(r"^\| (`[^|]+) \| ([^|]*) \|$", REFERENCE, re.MULTILINE))
    assert {f"{{{name}}}" for name in PLACEHOLDERS} == set(re.findall(r"`(\{\w+\})`", keys))


def test_every_fly_variable_is_documented() -> None:
    from simulator.machines.backend import Placement
    from simulator.machines.environment import fly_variables

    config = Path(__file__).parents[2] / "flysim.toml"
    for name in fly_variables(load_config(config).machines[0], Placement("127.0.0.1", 1, "::1")):
        assert f"`{name}`" in REFERENCE, name
