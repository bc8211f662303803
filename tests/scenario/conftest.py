"""Fixtures that write scenario files and run them on the fake simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from textwrap import dedent

import pytest

from simulator.results import ScenarioResult
from simulator.scenario import Scenario, load_scenario, run_scenario
from simulator.scenario import context as context
from tests.scenario.harness import FakeSimulator

HEAD = "version: 1\nname: A scenario of a test\nconfig: flysim.toml\n"

Write = Callable[..., Path]
RunStep = Callable[[str], Awaitable[ScenarioResult]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a scenario file: `head`, then these steps."""

    def write(steps: str, *, name: str = "scenario.yaml", head: str = HEAD) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{head}steps:\n{dedent(steps).strip()}\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def load(write: Write) -> Callable[[str], Scenario]:
    return lambda steps: load_scenario(write(steps))


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the fake simulator, traces and log lines arrive at once or never."""
    monkeypatch.setattr(context, "EVENT_TIMEOUT_SECONDS", 0.3)


@pytest.fixture
async def simulator() -> AsyncIterator[FakeSimulator]:
    async with FakeSimulator() as simulator:
        yield simulator


@pytest.fixture
def run_step(simulator: FakeSimulator, load: Callable[[str], Scenario]) -> RunStep:
    """Runs a scenario with these steps on the fake simulator."""
    return lambda steps: run_scenario(load(steps), simulator)
