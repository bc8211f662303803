"""Reporters by name: those of flysim, and those of other installed packages (entry point group `flysim.reporters`)."""

from __future__ import annotations

from collections.abc import Callable

from simulator.errors import InputError
from simulator.plugins import load_plugin, plugin_names
from simulator.report.json_report import json_report
from simulator.report.junit import junit_xml
from simulator.results import RunResult

GROUP = "flysim.reporters"

Reporter = Callable[[RunResult], str]
"""Returns the content of a report file for a finished run."""

REPORTERS: dict[str, Reporter] = {"json": json_report, "junit": junit_xml}
"""flysim's own reporters. A plugin cannot replace them."""


def find_reporter(name: str) -> Reporter:
    """Raises InputError that lists the known reporters, or says why a plugin cannot be loaded."""
    reporter: Reporter | None = REPORTERS.get(name) or load_plugin(GROUP, name)
    if reporter is None:
        known = ", ".join(sorted({*REPORTERS, *plugin_names(GROUP)}))
        raise InputError(f"there is no reporter {name!r}", expected=f"one of {known}")
    return reporter
