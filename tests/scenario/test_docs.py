"""The examples in docs/scenarios.md are valid, and cover all steps and keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.faults.registry import FAULTS, FaultChoice
from simulator.scenario import Scenario, load_scenario
from simulator.scenario.expectations.capture import Capture
from simulator.scenario.expectations.schema import (
    CookieMatch,
    LogMatch,
    MessageMatch,
    ShellExpectation,
    WebSocketExpectation,
)
from simulator.scenario.file.validation_messages import find_model
from simulator.scenario.steps import STEPS
from simulator.scenario.steps.machine import MachineAction
from tests.scenario.conftest import HEAD

REFERENCE = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", REFERENCE, re.DOTALL | re.MULTILINE)
MODELS: tuple[Any, ...] = (
    *(
        Scenario,
        WebSocketExpectation,
        ShellExpectation,
        CookieMatch,
        LogMatch,
        MessageMatch,
        Capture,
        MachineAction,
        FaultChoice,
        *(find_model(FaultChoice, key) for key in FAULTS),
    ),
    *STEPS.values(),
)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_valid(example: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(example if "version: 1" in example else f"{HEAD}steps:\n{example}", encoding="utf-8")
    assert load_scenario(path).steps


def keys() -> Iterator[str]:
    for model in MODELS:
        yield from (field.alias or name for name, field in model.model_fields.items() if name != "condition")


def test_every_key_is_in_an_example() -> None:
    shown = set(re.findall(r"([a-z_]+):", "".join(EXAMPLES)))
    mentioned = set(re.findall(r"`([a-z_]+)`", REFERENCE))
    assert sorted(set(keys()) - shown - mentioned) == []


def test_every_step_has_a_section() -> None:
    for key in STEPS:
        assert f"\n## {key}\n" in REFERENCE
