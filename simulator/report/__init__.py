"""Reports: what a run and its exchanges look like to people and programs.

A reporter is a function of a finished run that returns the text of a file. Others add reporters of their own
through the entry point group `flysim.reporters`; `flysim run --report NAME=FILE` finds them.
"""

from __future__ import annotations

from simulator.report.hop_ladder import ladder
from simulator.report.json_report import json_report
from simulator.report.junit import junit_xml
from simulator.report.registry import Reporter, find_reporter
from simulator.report.text import TextReport, failure_text

__all__ = ["Reporter", "TextReport", "failure_text", "find_reporter", "json_report", "junit_xml", "ladder"]
