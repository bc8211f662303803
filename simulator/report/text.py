"""Text report of a run: one line per scenario, the details of each failure, and a summary.

It passes the text to a `write` function of the caller, and prints nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from simulator.report.hop_ladder import WIDTH, ladder
from simulator.results import Mismatch, RunResult, ScenarioFailure, ScenarioResult, Verdict
from simulator.text import escape, printable

_MARKS = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.SKIPPED: "–"}
_MARGIN = 4
_COLOURS = {Verdict.PASSED: "32", Verdict.FAILED: "31", Verdict.SKIPPED: "33"}
_DIM = "2"


class TextReport:
    """Writes a line when a scenario ends, the details if it failed, and the summary as the last line."""

    def __init__(
        self, write: Callable[[str], object], *, colour: bool = False, width: int = WIDTH + _MARGIN
    ) -> None:
        self._write = write
        self._colour = colour
        self._width = width

    def add(self, result: ScenarioResult) -> None:
        """Report one scenario that has ended."""
        self._write(self._line(result) + "\n")
        if result.failure is not None:
            text = failure_text(result.failure, width=self._width - _MARGIN)
            self._write(printable(indent(text, " " * _MARGIN)) + "\n\n")

    def finish(self, run: RunResult, *, planned: int | None = None, is_first: bool = False) -> None:
        """Write the summary. `planned`: the number of scenarios selected, which an interrupted run does not reach."""
        left = 0 if planned is None else planned - len(run.results)
        space = "" if is_first else "\n"
        self._write(f"{space}{run.summary}{f', {left} not run' if left else ''}\n")

    def _line(self, result: ScenarioResult) -> str:
        mark = self._paint(_MARKS[result.verdict], _COLOURS[result.verdict])
        name = escape(result.name)
        if result.verdict is Verdict.SKIPPED:
            return f"{mark} {name}  {self._paint(f'skipped: {escape(result.skipped_because)}', _DIM)}"
        return f"{mark} {name}  {self._paint(f'{result.seconds:.2f} s', _DIM)}"

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


def failure_text(failure: ScenarioFailure, *, width: int = WIDTH) -> str:
    """Location, expected and actual values, the hop ladder, findings, and the last log lines of the machines."""
    return "\n".join(_failure_lines(failure, width))


def headline(failure: ScenarioFailure) -> str:
    """A failure in one line."""
    if failure.mismatches:
        first = failure.mismatches[0]
        text = f"{failure.step}: {first.what}: expected {first.expected}, was {first.actual}"
        return text.replace("\n", " | ")
    return f"{failure.step}: {failure.problem}".splitlines()[0]


def indent(text: str, by: str) -> str:
    """Put `by` before every line that is not empty."""
    return "\n".join(f"{by}{line}" if line else "" for line in text.splitlines())


def _failure_lines(failure: ScenarioFailure, width: int) -> Iterator[str]:
    yield f"{failure.location}  {failure.step}" if failure.location else failure.step
    if failure.problem:
        yield indent(failure.problem, "  ")
    for mismatch in failure.mismatches:
        yield from _mismatch_lines(mismatch)
    if failure.trace is not None:
        yield ""
        yield ladder(failure.trace, width=width)
    if failure.withheld:
        yield f"cookies not sent: {', '.join(str(cookie) for cookie in failure.withheld)}"
    for finding in failure.findings:
        yield ""
        yield f"finding {finding}"
    for tail in failure.logs:
        yield ""
        yield f"{tail.machine}: last log lines"
        yield from (f"  | {line}" for line in _printable(tail.lines))


def _printable(lines: Sequence[str]) -> Iterator[str]:
    """Merge repeated lines into one with a count; remove colors and escape other control characters."""
    for line, repeats in groupby(printable(line) for line in lines):
        count = len(list(repeats))
        yield f"{line}  (×{count})" if count > 1 else line


def _mismatch_lines(mismatch: Mismatch) -> Iterator[str]:
    yield f"  {mismatch.what}"
    for label, text in (("expected", mismatch.expected), ("actual", mismatch.actual)):
        yield f"    {label:<8}  {indent(text, ' ' * 14).lstrip()}"
