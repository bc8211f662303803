"""JUnit XML report of a run for CI systems: one test suite with one case per scenario."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from simulator.report.text import failure_text, headline
from simulator.results import RunResult, ScenarioResult, Verdict
from simulator.text import escape_matches

_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(run: RunResult) -> str:
    """Return the document. Characters that XML does not allow become escapes, such as `\\x1b`."""
    suite = ElementTree.Element(
        "testsuite",
        {
            "name": "flysim",
            "tests": str(len(run.results)),
            "failures": str(run.count(Verdict.FAILED)),
            "errors": "0",
            "skipped": str(run.count(Verdict.SKIPPED)),
            "time": f"{run.seconds:.3f}",
        },
    )
    suite.extend(_case(result) for result in run.results)
    root = ElementTree.Element(
        "testsuites", {key: value for key, value in suite.attrib.items() if key != "skipped"}
    )
    root.append(suite)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}'


def _case(result: ScenarioResult) -> ElementTree.Element:
    path = result.path
    class_name = ".".join(part for part in path.with_suffix("").parts if part not in ("..", ".", path.anchor))
    case = ElementTree.Element(
        "testcase",
        {
            "classname": _xml(class_name),
            "name": _xml(result.name),
            "file": _xml(str(path)),
            "time": f"{result.seconds:.3f}",
        },
    )
    if result.failure is not None:
        failure = ElementTree.SubElement(case, "failure", {"message": _xml(headline(result.failure))})
        failure.text = _xml(failure_text(result.failure))
        if result.failure.traceback:
            ElementTree.SubElement(case, "system-err").text = _xml(result.failure.traceback)
    if result.verdict is Verdict.SKIPPED:
        ElementTree.SubElement(case, "skipped", {"message": _xml(result.skipped_because)})
    return case


def _xml(text: str) -> str:
    return escape_matches(_NOT_IN_XML, text)
