"""Scenario files: read, run against a simulator, and reported.

`loader` turns YAML into frozen models, `runner` plays them on a `Stage`, `report` tells the result. The whole
reference for people who write scenarios is docs/scenarios.md.
"""

from __future__ import annotations

from simulator.scenario.file.loader import load_scenario, load_scenarios
from simulator.scenario.file.schema import Scenario, scenario_schema
from simulator.scenario.file.selection import select
from simulator.scenario.ladder import ladder
from simulator.scenario.report import TextReport, json_report, junit_xml
from simulator.scenario.result import RunResult, ScenarioResult, Verdict
from simulator.scenario.runner import RunOptions, run_scenario, run_scenarios
from simulator.scenario.steps.shell import simulator_variables

__all__ = [
    "RunOptions",
    "RunResult",
    "Scenario",
    "ScenarioResult",
    "TextReport",
    "Verdict",
    "json_report",
    "junit_xml",
    "ladder",
    "load_scenario",
    "load_scenarios",
    "run_scenario",
    "run_scenarios",
    "scenario_schema",
    "select",
    "simulator_variables",
]
