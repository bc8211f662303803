"""What a run says to people and to programs: lines of text as it goes, JUnit XML and JSON at its end.

Nothing here prints: the text goes to whoever is given as `write`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any
from xml.etree import ElementTree

from simulator.scenario.answer import Mismatch
from simulator.scenario.context import StepRecord
from simulator.scenario.expectations.match import escaped
from simulator.scenario.ladder import WIDTH, ladder
from simulator.scenario.result import RunResult, ScenarioFailure, ScenarioResult, Verdict

_MARKS = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.SKIPPED: "–"}
_MARGIN = 4
_COLOURS = {Verdict.PASSED: "32", Verdict.FAILED: "31", Verdict.SKIPPED: "33"}
_COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class TextReport:
    """One line per scenario as it ends, the whole story of one that failed, and the summary as the very last line."""

    def __init__(
        self, write: Callable[[str], object], *, colour: bool = False, width: int = WIDTH + _MARGIN
    ) -> None:
        self._write = write
        self._colour = colour
        self._width = width

    def take(self, result: ScenarioResult) -> None:
        self._write(self._line(result) + "\n")
        if result.failure is not None:
            text = failure_text(result.failure, width=self._width - _MARGIN)
            self._write(indent(text, " " * _MARGIN) + "\n\n")

    def finish(self, report: RunResult, *, planned: int | None = None, is_first: bool = False) -> None:
        """`planned`: how many scenarios there were to be, of which some may not have been played."""
        left = 0 if planned is None else planned - len(report.results)
        space = "" if is_first else "\n"
        self._write(f"{space}{report.summary}{f', {left} not played' if left else ''}\n")

    def _line(self, result: ScenarioResult) -> str:
        mark = self._painted(_MARKS[result.verdict], _COLOURS[result.verdict])
        if result.verdict is Verdict.SKIPPED:
            return f"{mark} {result.name}  {self._painted(f'skipped: {result.skipped_because}', '2')}"
        return f"{mark} {result.name}  {self._painted(f'{result.seconds:.2f} s', '2')}"

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


def failure_text(failure: ScenarioFailure, *, width: int = WIDTH) -> str:
    """Where, what was expected and what was, the hops, what diagnosis says, and the machines' last words."""
    return "\n".join(_failure_lines(failure, width))


def _failure_lines(failure: ScenarioFailure, width: int) -> Iterator[str]:
    yield f"{failure.place}  {failure.step}" if failure.place else failure.step
    if failure.problem:
        yield indent(failure.problem, "  ")
    for mismatch in failure.mismatches:
        yield from _mismatch_lines(mismatch)
    if failure.trace is not None:
        yield ""
        yield ladder(failure.trace, width=width)
    if failure.withheld:
        yield f"cookies not sent: {', '.join(failure.withheld)}"
    for finding in failure.findings:
        yield ""
        yield f"finding {finding}"
    for tail in failure.logs:
        yield ""
        yield f"{tail.machine} last logged"
        yield from (f"  | {line}" for line in _counted(tail.lines))


def _counted(lines: Sequence[str]) -> Iterator[str]:
    """A line that repeats itself stands once; colours and what else would steer the terminal is taken out."""
    for line, repeats in groupby(escaped(_COLOUR_CODE.sub("", line)) for line in lines):
        count = len(list(repeats))
        yield f"{line}  (×{count})" if count > 1 else line


def _mismatch_lines(mismatch: Mismatch) -> Iterator[str]:
    yield f"  {mismatch.what}"
    for word, text in (("expected", mismatch.expected), ("actual", mismatch.actual)):
        yield f"    {word:<8}  {indent(text, ' ' * 14).lstrip()}"


def indent(text: str, by: str) -> str:
    return "\n".join(f"{by}{line}" if line else "" for line in text.splitlines())


def junit_xml(report: RunResult) -> str:
    """One test suite, one case per scenario, in the form that CI systems read."""
    suite = ElementTree.Element(
        "testsuite",
        {
            "name": "flysim",
            "tests": str(len(report.results)),
            "failures": str(report.count(Verdict.FAILED)),
            "errors": "0",
            "skipped": str(report.count(Verdict.SKIPPED)),
            "time": f"{report.seconds:.3f}",
        },
    )
    for result in report.results:
        suite.append(_junit_case(result))
    root = ElementTree.Element(
        "testsuites", {key: suite.attrib[key] for key in suite.attrib if key != "skipped"}
    )
    root.append(suite)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}'


def _junit_case(result: ScenarioResult) -> ElementTree.Element:
    path = result.scenario.path
    classname = ".".join(part for part in path.with_suffix("").parts if part not in ("..", ".", path.anchor))
    case = ElementTree.Element(
        "testcase",
        {
            "classname": _xml(classname),
            "name": _xml(result.name),
            "file": _xml(str(path)),
            "time": f"{result.seconds:.3f}",
        },
    )
    if result.failure is not None:
        failed = ElementTree.SubElement(case, "failure", {"message": _xml(headline(result.failure))})
        failed.text = _xml(failure_text(result.failure))
        if result.failure.traceback:
            ElementTree.SubElement(case, "system-err").text = _xml(result.failure.traceback)
    if result.verdict is Verdict.SKIPPED:
        ElementTree.SubElement(case, "skipped", {"message": _xml(result.skipped_because)})
    return case


def headline(failure: ScenarioFailure) -> str:
    """A failure in one line."""
    if failure.mismatches:
        first = failure.mismatches[0]
        return f"{failure.step}: {first.what}: expected {first.expected}, was {first.actual}".replace(
            "\n", " | "
        )
    return f"{failure.step}: {failure.problem}".splitlines()[0]


def _xml(text: str) -> str:
    return _NOT_IN_XML.sub("�", text)


def json_report(report: RunResult) -> str:
    data = {
        "passed": report.count(Verdict.PASSED),
        "failed": report.count(Verdict.FAILED),
        "skipped": report.count(Verdict.SKIPPED),
        "seconds": round(report.seconds, 3),
        "scenarios": [_result_json(result) for result in report.results],
    }
    return json.dumps(data, ensure_ascii=False, indent=2)


def _result_json(result: ScenarioResult) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": result.name,
        "file": str(result.scenario.path),
        "verdict": result.verdict.value,
        "seconds": round(result.seconds, 3),
        "steps": [_step_json(step) for step in result.steps],
    }
    if result.failure is not None:
        data["failure"] = _failure_json(result.failure)
    if result.verdict is Verdict.SKIPPED:
        data["reason"] = result.skipped_because
    return data


def _step_json(step: StepRecord) -> dict[str, Any]:
    data: dict[str, Any] = {
        "step": step.title,
        "line": step.place.line if step.place else None,
        "seconds": round(step.seconds, 3),
    }
    if step.answer is not None:
        data["status"] = step.answer.status
        data["request_id"] = step.answer.request_id
        data["cookies_not_sent"] = {cookie.name: cookie.reason for cookie in step.answer.withheld}
        if step.answer.trace is not None:
            data["served_by"] = step.answer.trace.served_by
            data["path"] = list(step.answer.trace.path)
            data["error"] = step.answer.trace.error
    return data


def _failure_json(failure: ScenarioFailure) -> dict[str, Any]:
    data = {
        "step": failure.step,
        "line": failure.place.line if failure.place else None,
        "problem": failure.problem,
        "mismatches": [
            {"what": one.what, "expected": one.expected, "actual": one.actual} for one in failure.mismatches
        ],
        "trace": failure.trace.as_dict() if failure.trace else None,
        "cookies_not_sent": list(failure.withheld),
        "findings": list(failure.findings),
        "logs": {tail.machine: list(tail.lines) for tail in failure.logs},
    }
    return data | {"story": failure.traceback} if failure.traceback else data
