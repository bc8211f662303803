"""Assertions on the result of a scenario."""

from __future__ import annotations

from simulator.report import failure_text
from simulator.results import ScenarioResult, Verdict


def assert_passed(result: ScenarioResult) -> None:
    assert result.verdict is Verdict.PASSED, failure_text(result.failure) if result.failure else result


def mismatches_of(result: ScenarioResult) -> dict[str, tuple[str, str]]:
    """Mismatch -> (expected, actual)."""
    assert result.failure is not None, "it passed"
    return {one.what: (one.expected, one.actual) for one in result.failure.mismatches}


def problem_of(result: ScenarioResult) -> str:
    assert result.failure is not None, "it passed"
    return result.failure.problem
