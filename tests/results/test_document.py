"""The JSON document of a run: it conforms to its schema, and the schema covers the result values."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import ConfigDict, TypeAdapter

from simulator.results import (
    ClientResponse,
    Evidence,
    Finding,
    Fix,
    LogTail,
    Mismatch,
    RunResult,
    ScenarioFailure,
    ScenarioResult,
    SourceLocation,
    StepResult,
    Verdict,
    WithheldCookie,
)
from simulator.results import document as document_module
from simulator.results.document import (
    EvidenceDocument,
    FindingDocument,
    FixDocument,
    HopDocument,
    RunDocument,
    TraceDocument,
    run_document,
    run_schema,
)
from simulator.routing import Cause, Hop, Outcome, Trace
from tests.report.test_hop_ladder import TRACE

PATH = Path("scenarios/a.yaml")
FINDING = Finding(
    "lost-target",
    "there is no such machine",
    Fix("use prefer_instance", "instance=1", "prefer_instance=1"),
    "an id",
    ("F-1.2",),
    Evidence(0, "fly-replay", "instance=1", 9, 10),
)
RESPONSE = ClientResponse(
    "GET /", 200, (("Fly-Request-Id", "an id"),), withheld=(WithheldCookie("a", "1", "Secure"),), trace=TRACE
)
FAILURE = ScenarioFailure(
    SourceLocation(PATH, 7),
    "GET /",
    mismatches=(Mismatch("status", "200", "502"),),
    trace=TRACE,
    withheld=(WithheldCookie("a", "1", "Secure"),),
    findings=(FINDING,),
    logs=(LogTail("dfw-1", ("hello",)),),
    traceback="Traceback …",
    exit_status=4,
)
RUN = RunResult(
    (
        ScenarioResult("passes", PATH, Verdict.PASSED, 0.5, steps=(StepResult("advance 1s", None, 0.1),)),
        ScenarioResult(
            "fails",
            PATH,
            Verdict.FAILED,
            1.25,
            FAILURE,
            steps=(
                StepResult("GET /", SourceLocation(PATH, 7), 0.25, RESPONSE),
                StepResult(
                    "GET /", SourceLocation(PATH, 9), 0.25, ClientResponse("GET /", failure="timeout")
                ),
            ),
        ),
        ScenarioResult("is skipped", PATH, Verdict.SKIPPED, skipped_because="no engine"),
    ),
    2.0,
)


def strictly(document: object) -> None:
    """Raises if a key is missing, unknown, or of another type than the schema says."""
    run_schema()  # sets the pydantic config of the parts
    for part in vars(document_module).values():
        if isinstance(part, type) and hasattr(part, "__pydantic_config__"):
            part.__pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    TypeAdapter(RunDocument).validate_python(document)


def test_a_run_document_conforms_to_its_schema() -> None:
    document = json.loads(json.dumps(run_document(RUN)))
    strictly(document)
    assert document["version"] == 1
    document["scenarios"][1]["failure"]["trace"]["another"] = 1
    with pytest.raises(ValueError, match="Extra inputs"):
        strictly(document)


def test_keys_without_a_value_are_omitted() -> None:
    passes, fails, skipped = run_document(RUN)["scenarios"]
    assert passes["steps"] == [{"step": "advance 1s", "line": None, "seconds": 0.1}]
    assert "failure" not in passes
    assert fails["steps"][0]["path"] == ["ams-1", "dfw-1"]
    assert fails["steps"][1]["status"] is None
    assert "path" not in fails["steps"][1]
    assert skipped["reason"] == "no engine"


def test_a_failure_has_what_the_terminal_shows() -> None:
    failure = run_document(RUN)["scenarios"][1]["failure"]
    assert (failure["step"], failure["line"], failure["exit_status"]) == ("GET /", 7, 4)
    assert failure["cookies_not_sent"] == [{"name": "a", "reason": "Secure"}]
    assert failure["logs"] == [{"machine": "dfw-1", "lines": ["hello"]}]
    assert failure["traceback"] == "Traceback …"
    (finding,) = failure["findings"]
    assert finding["evidence"] == {
        "hop": 0,
        "header": "fly-replay",
        "text": "instance=1",
        "start": 9,
        "end": 10,
    }
    assert finding["fix"] == {
        "text": "use prefer_instance",
        "before": "instance=1",
        "after": "prefer_instance=1",
    }


@pytest.mark.parametrize(
    ("value", "part", "derived"),
    [
        (Trace, TraceDocument, {"path", "served_by"}),
        (Hop, HopDocument, set()),
        (Finding, FindingDocument, set()),
        (Evidence, EvidenceDocument, set()),
        (Fix, FixDocument, set()),
    ],
)
def test_the_schema_has_every_field_of_the_values(
    value: type[Any], part: type[Any], derived: set[str]
) -> None:
    assert {field.name for field in fields(value)} | derived == set(part.__annotations__)


def test_the_schema_has_every_cause_outcome_and_verdict() -> None:
    for part, key, kind in (
        (HopDocument, "cause", Cause),
        (TraceDocument, "outcome", Outcome),
        (document_module.ScenarioDocument, "verdict", Verdict),
    ):
        assert set(get_args(get_type_hints(part)[key])) == {each.value for each in kind}


def test_the_schema_describes_its_parts_and_keys() -> None:
    parts = run_schema()["$defs"]
    assert parts["TraceDocument"]["description"] == "One client request to its final response, hop by hop."
    assert parts["TraceDocument"]["properties"]["status"]["description"] == "The status that the client got."
    assert all("description" in part for part in parts.values())


def test_a_finding_survives_a_round_trip_through_json() -> None:
    assert Finding.from_dict(json.loads(json.dumps(FINDING.as_dict()))) == FINDING
    bare = Finding("self-replay", "a cause", Fix("a fix"), "an id")
    assert bare.as_dict()["fix"] == {"text": "a fix"}
    assert Finding.from_dict(bare.as_dict()) == bare
