"""How a step fails: with everything that a person needs to see why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simulator.scenario.answer import ClientResponse, Mismatch


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """Where in a file a step stands."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class StepFailed(Exception):
    """The expectations of a step did not hold, or it could not do what it says."""

    def __init__(
        self,
        problem: str = "",
        *,
        mismatches: tuple[Mismatch, ...] = (),
        answer: ClientResponse | None = None,
        exit_status: int = 1,
    ) -> None:
        super().__init__(problem or "; ".join(f"{m.what}: expected {m.expected}" for m in mismatches))
        self.problem = problem
        self.mismatches = mismatches
        self.answer = answer
        self.exit_status = exit_status
        """1: an expectation; 2: the scenario file is wrong, not the app; 4: flysim itself is."""
        self.place: SourceLocation | None = None
        self.title = ""
