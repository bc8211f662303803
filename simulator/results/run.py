"""Result of a run: verdicts of scenarios and steps, and failures with their context."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from simulator.results.client_response import ClientResponse, Mismatch, WithheldCookie
from simulator.results.finding import Finding
from simulator.routing.trace import Trace


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """A line of a scenario file, from 1."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class LogTail:
    """The last lines that a machine logged."""

    machine: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step that ran, with the last response that its client got."""

    title: str
    location: SourceLocation | None
    seconds: float
    response: ClientResponse | None = None


@dataclass(frozen=True, slots=True)
class ScenarioFailure:
    """Why a scenario failed: the step, the mismatches, and the trace, findings and logs that help to find the cause."""

    location: SourceLocation | None
    step: str
    problem: str = ""
    mismatches: tuple[Mismatch, ...] = ()
    trace: Trace | None = None
    withheld: tuple[WithheldCookie, ...] = ()
    findings: tuple[Finding, ...] = ()
    logs: tuple[LogTail, ...] = ()
    traceback: str = ""
    """Traceback of a bug in flysim. It is part of reports because the crash file may be lost with a CI job."""
    exit_status: int = 1
    """1: an expectation does not hold; 2: the file is wrong; 3: the environment; 4: a bug in flysim."""


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """The verdict on one scenario, and the steps that ran. `seconds` is real time."""

    name: str
    path: Path
    verdict: Verdict
    seconds: float = 0.0
    failure: ScenarioFailure | None = None
    skipped_because: str = ""
    steps: tuple[StepResult, ...] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """All results of a run, in order of completion. `seconds` is real time."""

    results: tuple[ScenarioResult, ...]
    seconds: float

    def count(self, verdict: Verdict) -> int:
        return sum(result.verdict is verdict for result in self.results)

    @property
    def exit_status(self) -> int:
        """0 if no scenario failed, else the highest exit status of a failure."""
        return max((result.failure.exit_status for result in self.results if result.failure), default=0)

    @property
    def summary(self) -> str:
        """`3 passed, 0 failed`, and `, 1 skipped` if any were."""
        text = f"{self.count(Verdict.PASSED)} passed, {self.count(Verdict.FAILED)} failed"
        skipped = self.count(Verdict.SKIPPED)
        return f"{text}, {skipped} skipped" if skipped else text
