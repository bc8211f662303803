"""Text, JUnit XML and JSON reports of a run."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from simulator.report import TextReport, json_report, junit_xml
from simulator.results import (
    Finding,
    Fix,
    LogTail,
    Mismatch,
    RunResult,
    ScenarioFailure,
    ScenarioResult,
    SourceLocation,
    Verdict,
    WithheldCookie,
)
from tests.report.test_hop_ladder import TRACE
from tests.scenario.conftest import RunStep

SCENARIO = ("A <name> & more", Path("scenarios/a.yaml"))
FAILURE = ScenarioFailure(
    SourceLocation(Path("scenarios/a.yaml"), 14),
    "WebSocket /ws",
    mismatches=(
        Mismatch("served_by", "dfw-1", "ams-1"),
        Mismatch("logs", "a line", "\nams-1: one\nams-1: two"),
    ),
    trace=TRACE,
    withheld=(WithheldCookie("fly-machine-id", "1", "Secure: the URL is plain http"),),
    findings=(
        Finding("stale-cookie", "it is old", Fix("set another", "a: old", "a: new"), "id", ("F-1.2",)),
    ),
    logs=(LogTail("ams-1", ("GET /", "GET /", "Sent 200 \x00")),),
)
PASSED = ScenarioResult(*SCENARIO, Verdict.PASSED, 0.5)
FAILED = ScenarioResult(*SCENARIO, Verdict.FAILED, 1.25, FAILURE)
SKIPPED = ScenarioResult(*SCENARIO, Verdict.SKIPPED, skipped_because="no Docker")
REPORT = RunResult((PASSED, FAILED, SKIPPED), 2.0)


def render_text(report: RunResult, *, colour: bool = False) -> str:
    parts: list[str] = []
    text = TextReport(parts.append, colour=colour)
    for result in report.results:
        text.add(result)
    text.finish(report)
    return "".join(parts)


def test_the_text_report_has_all_details_of_a_failure() -> None:
    assert (
        render_text(REPORT)
        == """\
✓ A <name> & more  0.50 s
✗ A <name> & more  1.25 s
    scenarios/a.yaml:14  WebSocket /ws
      served_by
        expected  dfw-1
        actual    ams-1
      logs
        expected  a line
        actual    ams-1: one
                  ams-1: two

    GET /?instance=286533db064e58  at edge ams  → 200 from dfw-1 in 12 ms
      1  ams-1  ams  d8dd626f379508  routed  307  fly-replay: instance=286533db064e58               3 ms
      2  dfw-1  dfw  286533db064e58  replay  200  fly-replay-src: instance=d8dd626f379508;regi…     8 ms
    cookies not sent: fly-machine-id (Secure: the URL is plain http)

    finding stale-cookie: it is old
      fix: set another
        - a: old
        + a: new

    ams-1: last log lines
      | GET /  (×2)
      | Sent 200 \\x00

– A <name> & more  skipped: no Docker

1 passed, 1 failed, 1 skipped
"""
    )


def test_the_summary_is_the_last_line() -> None:
    assert render_text(RunResult((PASSED,), 0.5)).splitlines()[-1] == "1 passed, 0 failed"


def test_colour_is_off_by_default() -> None:
    assert "\x1b" not in render_text(REPORT)
    assert "\x1b[32m✓\x1b[0m" in render_text(REPORT, colour=True)
    assert render_text(REPORT, colour=True).splitlines()[-1] == "1 passed, 1 failed, 1 skipped"


def test_the_highest_exit_status_of_a_failure_is_that_of_the_run() -> None:
    worse = ScenarioResult(*SCENARIO, Verdict.FAILED, failure=ScenarioFailure(None, "start", exit_status=3))
    assert RunResult((PASSED,), 0).exit_status == 0
    assert REPORT.exit_status == 1
    assert RunResult((FAILED, worse), 0).exit_status == 3


def test_junit_is_xml_with_one_case_per_scenario() -> None:
    root = ElementTree.fromstring(junit_xml(REPORT))
    (suite,) = root
    assert {key: suite.attrib[key] for key in ("tests", "failures", "skipped", "errors")} == {
        "tests": "3",
        "failures": "1",
        "skipped": "1",
        "errors": "0",
    }
    cases = list(suite)
    assert [case.attrib["name"] for case in cases] == ["A <name> & more"] * 3
    assert [[child.tag for child in case] for case in cases] == [[], ["failure"], ["skipped"]]
    (failure,) = cases[1]
    assert failure.attrib["message"] == "WebSocket /ws: served_by: expected dfw-1, was ams-1"
    assert "fly-replay: instance=286533db064e58" in (failure.text or "")
    assert cases[2][0].attrib["message"] == "no Docker"


def test_characters_that_xml_does_not_allow_become_escapes() -> None:
    unprintable = ScenarioFailure(None, "step", "\x00\x1b[31m\ud800 ok\t\n")
    xml = junit_xml(RunResult((ScenarioResult(*SCENARIO, Verdict.FAILED, failure=unprintable),), 0))
    (failure,) = ElementTree.fromstring(xml.encode()).iter("failure")
    assert r"\x00\x1b[31m\ud800 ok" in (failure.text or "")


def test_the_text_report_has_no_escape_sequences_but_its_own() -> None:
    written: list[str] = []
    failed = ScenarioFailure(
        None, "step\x1b[2J", "\x1b]0;title\x07", logs=(LogTail("ams-1", ("\x1b[31mred",)),)
    )
    scenario = ScenarioResult("na\x1b[2Jme", SCENARIO[1], Verdict.FAILED, failure=failed)
    TextReport(written.append).add(scenario)
    text = "".join(written)
    assert "\x1b" not in text
    assert r"na\x1b[2Jme" in text
    assert r"step\x1b[2J" in text
    assert "  | red\n" in text


def test_the_json_report_holds_any_text() -> None:
    failed = ScenarioFailure(None, "step", "\udce9 \x1b")
    report = json_report(RunResult((ScenarioResult(*SCENARIO, Verdict.FAILED, failure=failed),), 0))
    assert json.loads(report.encode())["scenarios"][0]["failure"]["problem"] == "\\xe9 \x1b"


def test_the_json_report_has_the_content_of_the_text_report() -> None:
    data = json.loads(json_report(REPORT))
    assert (data["passed"], data["failed"], data["skipped"]) == (1, 1, 1)
    failure = data["scenarios"][1]["failure"]
    assert (failure["step"], failure["line"]) == ("WebSocket /ws", 14)
    assert failure["mismatches"][0] == {"what": "served_by", "expected": "dfw-1", "actual": "ams-1"}
    assert failure["trace"]["path"] == ["ams-1", "dfw-1"]
    assert data["scenarios"][2]["reason"] == "no Docker"


async def test_the_json_report_has_every_step_with_its_withheld_cookies(run_step: RunStep) -> None:
    result = await run_step("""
        - request: GET /set?cookie=a=1;%20Path=/x
        - request: GET /echo?instance={dfw-1.id}
    """)
    (scenario,) = json.loads(json_report(RunResult((result,), 1.0)))["scenarios"]
    second = scenario["steps"][1]
    assert (second["step"], second["line"], second["status"]) == ("GET /echo?instance=286533db064e58", 6, 200)
    assert (second["served_by"], second["path"], second["error"]) == ("dfw-1", ["ams-1", "dfw-1"], None)
    assert second["cookies_not_sent"] == [{"name": "a", "reason": "Path=/x: the path is /echo"}]


async def test_a_failure_has_file_line_hops_and_last_log_lines(run_step: RunStep) -> None:
    result = await run_step("""
        - request: GET /log?machine=dfw-1&line=hello
        - request: GET /echo?instance={dfw-1.id}
          expect: {served_by: ams-1}
    """)
    text = render_text(RunResult((result,), 1.0))
    assert "scenario.yaml:6  GET /echo" in text
    assert "2  dfw-1  dfw  286533db064e58  replay  200" in text
    assert "dfw-1: last log lines\n      | hello" in text
