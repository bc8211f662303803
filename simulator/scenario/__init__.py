"""Scenarios: YAML files that test an app behind the simulated proxy.

`file` parses and validates YAML into frozen models, `steps` run with a `client` and check `expectations`, and
`runner` runs whole files on a fleet. The results are values in `simulator.results`. docs/scenarios.md is the
reference for authors.
"""

from __future__ import annotations

from simulator.scenario.file.schema import Scenario, scenario_schema
from simulator.scenario.file.selection import select
from simulator.scenario.loader import load_scenario, load_scenarios
from simulator.scenario.runner import RunOptions, run_scenario, run_scenarios
from simulator.scenario.steps.shell import simulator_variables

__all__ = [
    "RunOptions",
    "Scenario",
    "load_scenario",
    "load_scenarios",
    "run_scenario",
    "run_scenarios",
    "scenario_schema",
    "select",
    "simulator_variables",
]
