"""Reporters by name: those of flysim, and those of other installed packages (entry point group `flysim.reporters`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simulator.errors import EnvironmentFault, InputError
from simulator.plugins import call_plugin, load_plugin, plugin_names
from simulator.report.json_report import json_report
from simulator.report.junit import junit_xml
from simulator.results import RunResult

GROUP = "flysim.reporters"

Reporter = Callable[[RunResult], str]
"""Returns the content of a report file for a finished run."""

REPORTERS: dict[str, Reporter] = {"json": json_report, "junit": junit_xml}
"""flysim's own reporters. A plugin cannot replace them."""


def find_reporter(name: str) -> Reporter:
    """Raises InputError that lists the reporters there are, or says why a plugin cannot be used."""
    if name in REPORTERS:
        return REPORTERS[name]
    plugin = load_plugin(GROUP, name)
    if plugin is None:
        known = ", ".join(sorted({*REPORTERS, *plugin_names(GROUP)}))
        raise InputError(f"there is no reporter {name!r}", expected=f"one of {known}")
    if not callable(plugin):
        raise InputError(f"the plugin {name!r} is not a reporter: {plugin!r}", expected="a function of a run")
    return partial(_report, name, plugin)


def _report(name: str, plugin: Callable[[RunResult], object], run: RunResult) -> str:
    """Raises EnvironmentFault if the plugin fails or returns no text."""
    text = call_plugin(f"the reporter {name!r}", plugin, run)
    if not isinstance(text, str):
        raise EnvironmentFault(
            f"the reporter {name!r} returned {type(text).__name__}",
            hint="a reporter returns the text of a file",
        )
    return text
