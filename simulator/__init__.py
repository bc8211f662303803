"""flysim: a local, multi-machine simulator of Fly.io's proxy, and a test harness for the apps behind it.

    from simulator import Simulator, load_config

    async with Simulator(load_config("flysim.toml"), free_ports=True) as fly:
        ...  # fly.edges["ams"] is the base URL of the edge in Amsterdam

Everything in `__all__` is the public API; docs/python.md explains it with examples. A name is imported when it is
first used, so that `import simulator` itself costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers treat it as true; importing typing would take half of the import time

__version__ = "0.1.0"

__all__ = [
    "Cause",
    "Config",
    "EnvironmentFault",
    "Evidence",
    "Finding",
    "Fix",
    "Fleet",
    "Hop",
    "InputError",
    "Machine",
    "MachineFault",
    "MachineState",
    "Outcome",
    "RoutingOptions",
    "RunOptions",
    "RunResult",
    "Scenario",
    "ScenarioFailure",
    "ScenarioResult",
    "Simulator",
    "SimulatorError",
    "Trace",
    "Verdict",
    "WrongStateError",
    "diagnose",
    "ladder",
    "load_config",
    "load_scenario",
    "load_scenarios",
    "parse_config",
    "run_scenarios",
]

if TYPE_CHECKING:
    from simulator.config import Config, load_config, parse_config
    from simulator.diagnosis import diagnose
    from simulator.errors import EnvironmentFault, InputError, MachineFault, SimulatorError, WrongStateError
    from simulator.report import ladder
    from simulator.results import Evidence, Finding, Fix, RunResult, ScenarioFailure, ScenarioResult, Verdict
    from simulator.routing import Cause, Fleet, Hop, Machine, MachineState, Outcome, RoutingOptions, Trace
    from simulator.runtime import Simulator
    from simulator.scenario import RunOptions, Scenario, load_scenario, load_scenarios, run_scenarios

_MODULES = {
    "simulator.config": ("Config", "load_config", "parse_config"),
    "simulator.diagnosis": ("diagnose",),
    "simulator.errors": (
        "EnvironmentFault",
        "InputError",
        "MachineFault",
        "SimulatorError",
        "WrongStateError",
    ),
    "simulator.report": ("ladder",),
    "simulator.results": (
        "Evidence",
        "Finding",
        "Fix",
        "RunResult",
        "ScenarioFailure",
        "ScenarioResult",
        "Verdict",
    ),
    "simulator.routing": (
        "Cause",
        "Fleet",
        "Hop",
        "Machine",
        "MachineState",
        "Outcome",
        "RoutingOptions",
        "Trace",
    ),
    "simulator.runtime": ("Simulator",),
    "simulator.scenario": ("RunOptions", "Scenario", "load_scenario", "load_scenarios", "run_scenarios"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
