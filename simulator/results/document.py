"""The JSON document of a run: version 1, with its JSON Schema (`flysim schema run`).

Programs read this: CI, the dashboard, test plugins. A key is added without a new version; a key is renamed, removed
or changed in meaning only with one. `seconds` are real time; instants are seconds since the Unix epoch, on the
simulated clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import (
    Any,
    Literal,
    NotRequired,  # pydantic requires these before Python 3.12
    cast,
)

from typing_extensions import TypedDict, is_typeddict

from simulator.results.client_response import ClientResponse, WithheldCookie
from simulator.results.run import RunResult, ScenarioFailure, ScenarioResult, StepResult, Verdict

VERSION: Literal[1] = 1

Pairs = list[tuple[str, str]]
"""Header fields in order, each `[name, value]`."""


class HopDocument(TypedDict):
    """One delivery to a machine and its response."""

    machine_id: str
    machine: str
    """The machine's name, such as `dfw-1`."""
    app: str
    region: str
    cause: Literal["routed", "replay", "retry", "cached", "fallback"]
    """Why the delivery was made."""
    started_at: float
    ended_at: float | None
    attempts: int
    """How many times in a row the proxy tried this machine."""
    status: int | None
    failure: str | None
    """Why there was no response: the proxy's error code and its message."""
    replay: str | None
    """The replay that the machine requested: the `fly-replay` value, or the replay body."""
    note: str | None
    """What the delivery had to wait for, and the injected faults that affected it."""
    sent: Pairs
    """Request headers that the proxy set for this delivery."""
    received: Pairs
    """Response headers that matter for routing."""


class TraceDocument(TypedDict):
    """One client request to its final response, hop by hop."""

    request_id: str
    """`Fly-Request-Id`"""
    edge: str
    """Region of the edge."""
    app: str
    method: str
    """Here and elsewhere, a byte that is not UTF-8 appears as in `/caf\\xe9`."""
    target: str
    host: str
    scheme: str
    started_at: float
    hops: list[HopDocument]
    outcome: Literal["pending", "relayed", "rejected", "redirected", "client_left", "broken"]
    status: int | None
    """The status that the client got."""
    error: str | None
    """The proxy's error code, such as PA02, or BUG for a bug in flysim."""
    message: str | None
    answered_at: float | None
    ended_at: float | None
    websocket: bool
    close_code: int | None
    warnings: list[str]
    """What the proxy accepted although Fly might not."""
    cookies_sent: list[str]
    """Names of the cookies in the request."""
    path: list[str]
    """Names of the machines, hop by hop."""
    served_by: str | None
    """Name of the machine whose response the client got."""


class EvidenceDocument(TypedDict):
    """Where in the trace the problem is visible."""

    hop: int | None
    """Position in `hops`, from 0."""
    header: str | None
    """Name in lower case."""
    text: str | None
    start: int | None
    end: int | None
    """The wrong part is `text[start:end]`, in Unicode code points."""


class FixDocument(TypedDict):
    """What to change; `before` and `after` if a value is wrong."""

    text: str
    before: NotRequired[str]
    after: NotRequired[str]


class FindingDocument(TypedDict):
    """What diagnosis says about one exchange."""

    id: str
    rules: list[str]
    """Ids of the rules of Fly's proxy that explain it."""
    cause: str
    evidence: EvidenceDocument
    fix: FixDocument
    request_id: str


class CookieDocument(TypedDict):
    """A cookie that the client has and did not send."""

    name: str
    reason: str


class StepDocument(TypedDict):
    """One step that ran. It has a `status` if it sent a request, and a `path` if the request has a trace."""

    step: str
    line: int | None
    seconds: float
    status: NotRequired[int | None]
    request_id: NotRequired[str | None]
    cookies_not_sent: NotRequired[list[CookieDocument]]
    served_by: NotRequired[str | None]
    path: NotRequired[list[str]]
    error: NotRequired[str | None]


class MismatchDocument(TypedDict):
    """One expectation that does not hold."""

    what: str
    expected: str
    actual: str


class LogDocument(TypedDict):
    """The last lines that a machine logged."""

    machine: str
    lines: list[str]


class FailureDocument(TypedDict):
    """Why the scenario failed."""

    step: str
    line: int | None
    problem: str
    mismatches: list[MismatchDocument]
    trace: TraceDocument | None
    cookies_not_sent: list[CookieDocument]
    findings: list[FindingDocument]
    logs: list[LogDocument]
    exit_status: int
    """1: an expectation does not hold; 2: the file is wrong; 3: the environment; 4: a bug in flysim."""
    traceback: NotRequired[str]
    """Traceback of a bug in flysim."""


class ScenarioDocument(TypedDict):
    """One scenario."""

    name: str
    file: str
    verdict: Literal["passed", "failed", "skipped"]
    seconds: float
    steps: list[StepDocument]
    failure: NotRequired[FailureDocument]
    reason: NotRequired[str]
    """Why it was skipped."""


class RunDocument(TypedDict):
    """One run of scenarios."""

    version: Literal[1]
    passed: int
    failed: int
    skipped: int
    seconds: float
    scenarios: list[ScenarioDocument]


def run_document(run: RunResult) -> RunDocument:
    return {
        "version": VERSION,
        "passed": run.count(Verdict.PASSED),
        "failed": run.count(Verdict.FAILED),
        "skipped": run.count(Verdict.SKIPPED),
        "seconds": round(run.seconds, 3),
        "scenarios": [_scenario(result) for result in run.results],
    }


def run_schema() -> dict[str, Any]:
    """JSON Schema of the document. Its descriptions are the docstrings in this module."""
    from pydantic import ConfigDict, TypeAdapter

    for part in globals().copy().values():
        if is_typeddict(part):
            part.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | TypeAdapter(
        RunDocument
    ).json_schema()


def _scenario(result: ScenarioResult) -> ScenarioDocument:
    document: ScenarioDocument = {
        "name": result.name,
        "file": str(result.path),
        "verdict": result.verdict.value,
        "seconds": round(result.seconds, 3),
        "steps": [_step(step) for step in result.steps],
    }
    if result.failure is not None:
        document["failure"] = _failure(result.failure)
    if result.verdict is Verdict.SKIPPED:
        document["reason"] = result.skipped_because
    return document


def _step(step: StepResult) -> StepDocument:
    document: StepDocument = {
        "step": step.title,
        "line": step.location.line if step.location else None,
        "seconds": round(step.seconds, 3),
    }
    if step.response is not None:
        _add_response(document, step.response)
    return document


def _add_response(document: StepDocument, response: ClientResponse) -> None:
    document["status"] = response.status
    document["request_id"] = response.request_id
    document["cookies_not_sent"] = _cookies(response.withheld)
    if response.trace is not None:
        document["served_by"] = response.trace.served_by
        document["path"] = list(response.trace.path)
        document["error"] = response.trace.error


def _failure(failure: ScenarioFailure) -> FailureDocument:
    document: FailureDocument = {
        "step": failure.step,
        "line": failure.location.line if failure.location else None,
        "problem": failure.problem,
        "mismatches": [
            {"what": each.what, "expected": each.expected, "actual": each.actual}
            for each in failure.mismatches
        ],
        "trace": cast(TraceDocument, failure.trace.as_dict()) if failure.trace else None,
        "cookies_not_sent": _cookies(failure.withheld),
        "findings": [cast(FindingDocument, finding.as_dict()) for finding in failure.findings],
        "logs": [{"machine": tail.machine, "lines": list(tail.lines)} for tail in failure.logs],
        "exit_status": failure.exit_status,
    }
    if failure.traceback:
        document["traceback"] = failure.traceback
    return document


def _cookies(withheld: Sequence[WithheldCookie]) -> list[CookieDocument]:
    return [{"name": cookie.name, "reason": cookie.reason} for cookie in withheld]
