"""The failure of a step: the expectations that do not hold, and the response they were checked against."""

from __future__ import annotations

from simulator.results import ClientResponse, Mismatch, SourceLocation


class StepFailed(Exception):
    """An expectation of a step does not hold, or the step cannot be carried out."""

    def __init__(
        self,
        problem: str = "",
        *,
        mismatches: tuple[Mismatch, ...] = (),
        response: ClientResponse | None = None,
        exit_status: int = 1,
    ) -> None:
        super().__init__(problem or "; ".join(f"{m.what}: expected {m.expected}" for m in mismatches))
        self.problem = problem
        self.mismatches = mismatches
        self.response = response
        self.exit_status = exit_status
        """1: an expectation; 2: the scenario file is wrong, not the app; 4: flysim itself is."""
        self.location: SourceLocation | None = None
        self.title = ""
