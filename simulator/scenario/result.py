"""What came of scenarios, as values: verdicts, failures with all that explains them, and the report of a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from simulator.routing.trace import Trace
from simulator.scenario.answer import Mismatch
from simulator.scenario.context import StepRecord
from simulator.scenario.failure import SourceLocation
from simulator.scenario.file.schema import Scenario


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class LogTail:
    """The last lines that a machine wrote."""

    machine: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScenarioFailure:
    """Why a scenario failed: the step, what did not hold, and what helps to see why."""

    place: SourceLocation | None
    step: str
    problem: str = ""
    mismatches: tuple[Mismatch, ...] = ()
    trace: Trace | None = None
    withheld: tuple[str, ...] = ()
    """Cookies that the client has and did not send, each with the reason."""
    findings: tuple[str, ...] = ()
    logs: tuple[LogTail, ...] = ()
    traceback: str = ""
    """The traceback of a fault of flysim, which no terminal shows: a file may be gone with the computer of a CI."""
    exit_status: int = 1
    """1: an expectation; 2: the file is wrong; 3: the environment; 4: flysim itself."""


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    scenario: Scenario
    verdict: Verdict
    seconds: float = 0.0
    failure: ScenarioFailure | None = None
    skipped_because: str = ""
    steps: tuple[StepRecord, ...] = ()

    @property
    def name(self) -> str:
        return self.scenario.name


@dataclass(frozen=True, slots=True)
class RunResult:
    """All results of a run, in the order in which they came."""

    results: tuple[ScenarioResult, ...]
    seconds: float

    def count(self, verdict: Verdict) -> int:
        return sum(result.verdict is verdict for result in self.results)

    @property
    def exit_status(self) -> int:
        """0 where all passed, else that of the gravest failure."""
        return max((result.failure.exit_status for result in self.results if result.failure), default=0)

    @property
    def summary(self) -> str:
        """`3 passed, 0 failed`, and `, 1 skipped` where any were."""
        text = f"{self.count(Verdict.PASSED)} passed, {self.count(Verdict.FAILED)} failed"
        skipped = self.count(Verdict.SKIPPED)
        return f"{text}, {skipped} skipped" if skipped else text
