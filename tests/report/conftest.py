"""Fixtures of the scenario tests, for reports of scenarios that ran."""

from tests.scenario.conftest import load, run_step, simulator, write

__all__ = ["load", "run_step", "simulator", "write"]
