"""Reporters: text, JUnit XML and JSON reports of a run, and the hop ladder of one exchange.

A reporter is a function that takes a finished run and returns the content of a file. Plugins register their own in
the entry point group `flysim.reporters`, for `flysim run --report NAME=FILE`.
"""

from __future__ import annotations

from simulator.report.hop_ladder import ladder
from simulator.report.json_report import json_report
from simulator.report.junit import junit_xml
from simulator.report.registry import Reporter, find_reporter
from simulator.report.text import TextReport, failure_text

__all__ = ["Reporter", "TextReport", "failure_text", "find_reporter", "json_report", "junit_xml", "ladder"]
