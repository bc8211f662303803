"""The fixtures of scenario tests: reports of scenarios that really ran."""

from tests.scenario.conftest import load, run_step, simulator, write

__all__ = ["load", "run_step", "simulator", "write"]
