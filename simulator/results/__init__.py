"""Results as values: a run, its scenarios and steps, what a client saw, and findings.

Every reporter, the control API and the test plugins render these and nothing else. `document` writes a run as
JSON with a version and a published schema; it needs pydantic, so nothing here imports it.
"""

from __future__ import annotations

from simulator.results.client_response import ClientResponse, Mismatch, WithheldCookie
from simulator.results.finding import Evidence, Finding, Fix
from simulator.results.run import (
    LogTail,
    RunResult,
    ScenarioFailure,
    ScenarioResult,
    SourceLocation,
    StepResult,
    Verdict,
)

__all__ = [
    "ClientResponse",
    "Evidence",
    "Finding",
    "Fix",
    "LogTail",
    "Mismatch",
    "RunResult",
    "ScenarioFailure",
    "ScenarioResult",
    "SourceLocation",
    "StepResult",
    "Verdict",
    "WithheldCookie",
]
