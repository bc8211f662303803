"""Runner of scenarios: shared fleets, skipped scenarios, failures and crashes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from simulator.config import Config
from simulator.errors import EnvironmentFault, InputError, MachineFault
from simulator.report import json_report, junit_xml
from simulator.results import RunResult, ScenarioResult, Verdict
from simulator.routing import Trace
from simulator.scenario import RunOptions, run_scenarios
from tests.scenario.conftest import Write
from tests.scenario.harness import FakeSimulator

CONFIG = """
version = 1
[edges]
ams = 0
dfw = 0
[apps.chat]
command = ["true"]
[[apps.chat.machines]]
region = "ams"
id = "d8dd626f379508"
[[apps.chat.machines]]
region = "dfw"
id = "286533db064e58"
"""
PASSES = "- request: GET /echo"
FAILS = "- request: GET /echo\n  expect: {status: 500}"


class FakeSimulators:
    """Opens fake simulators and records them."""

    def __init__(self) -> None:
        self.opened: list[FakeSimulator] = []
        self.calls: list[tuple[Config, bool, int]] = []
        self.fault: Exception | None = None

    @asynccontextmanager
    async def open(self, config: Config, *, realtime: bool, seed: int) -> AsyncIterator[FakeSimulator]:
        self.calls.append((config, realtime, seed))
        if self.fault:
            raise self.fault
        async with FakeSimulator(config) as simulator:
            self.opened.append(simulator)
            yield simulator


@pytest.fixture
def simulators() -> FakeSimulators:
    return FakeSimulators()


@pytest.fixture(autouse=True)
def _config(tmp_path: Path) -> None:
    (tmp_path / "flysim.toml").write_text(CONFIG)


async def run(simulators: FakeSimulators, path: Path, options: RunOptions | None = None) -> RunResult:
    return await run_scenarios([path], options, open_simulator=simulators.open)


def head(name: str, more: str = "", config: str = "config: flysim.toml") -> str:
    return f"version: 1\nname: {name}\n{config}\n{more}"


def verdicts(report: RunResult) -> dict[str, str]:
    return {result.name: result.verdict.value for result in report.results}


async def test_a_failure_ends_only_its_scenario(
    simulators: FakeSimulators, write: Write, tmp_path: Path
) -> None:
    write(f"{FAILS}\n- machine: {{stop: dfw-1}}", name="a.yaml", head=head("a"))
    write(PASSES, name="b.yaml", head=head("b"))
    reported: list[ScenarioResult] = []
    report = await run_scenarios([tmp_path], on_result=reported.append, open_simulator=simulators.open)
    assert verdicts(report) == {"a": "failed", "b": "passed"}
    assert [result.name for result in reported] == ["a", "b"]
    assert len(report.results[0].steps) == 1
    assert (report.summary, report.exit_status) == ("1 passed, 1 failed", 1)


async def test_scenarios_on_one_fleet_share_a_simulator_that_is_reset_between_them(
    simulators: FakeSimulators, write: Write, tmp_path: Path
) -> None:
    for name in "abc":
        write(PASSES, name=f"{name}.yaml", head=head(name))
    report = await run(simulators, tmp_path)
    assert report.summary == "3 passed, 0 failed"
    assert [simulator.resets for simulator in simulators.opened] == [2]


async def test_env_seed_and_fresh_make_a_separate_fleet(
    simulators: FakeSimulators, write: Write, tmp_path: Path
) -> None:
    write(PASSES, name="a.yaml", head=head("a"))
    write(PASSES, name="b.yaml", head=head("b", "env: {GUARD: '1'}\n"))
    write(PASSES, name="c.yaml", head=head("c", "seed: 7\n"))
    write(PASSES, name="d.yaml", head=head("d", "fresh: true\n"))
    write(PASSES, name="e.yaml", head=head("e"))
    report = await run(simulators, tmp_path)
    assert list(verdicts(report)) == ["a", "e", "b", "c", "d"]
    assert [seed for _, _, seed in simulators.calls] == [0, 0, 7, 0]
    assert [dict(config.machines[0].env).get("GUARD") for config, _, _ in simulators.calls] == [
        None,
        "1",
        None,
        None,
    ]


async def test_options_are_passed_to_the_simulator(
    simulators: FakeSimulators, write: Write, tmp_path: Path
) -> None:
    write(PASSES, name="a.yaml", head=head("a", "seed: 7\n"))
    await run(simulators, tmp_path, RunOptions(seed=3, realtime=True))
    assert [(realtime, seed) for _, realtime, seed in simulators.calls] == [(True, 3)]


async def test_an_inline_fleet_is_read_from_the_scenario(
    simulators: FakeSimulators, write: Write, tmp_path: Path
) -> None:
    fleet = 'fleet:\n  edges: {ams: 0}\n  apps: {a: {command: ["true"], machines: [{region: ams, count: 2}]}}'
    write(PASSES, name="a.yaml", head=head("a", config=fleet))
    await run(simulators, tmp_path)
    ((config, _, _),) = simulators.calls
    assert [machine.name for machine in config.machines] == ["ams-1", "ams-2"]


@pytest.mark.parametrize(
    ("text", "location", "problem"),
    [
        (
            head("a", config="config: none.toml") + f"steps:\n  {PASSES}\n",
            "3:9",
            "config: none.toml does not exist",
        ),
        (
            head("a", config="fleet:\n  edgs: {ams: 0}\n  apps: {}") + f"steps:\n  {PASSES}\n",
            "4:3",
            'unknown key "edgs"',
        ),
        (
            head("a") + "steps:\n  - request: GET /{dfw-1.idd}\n",
            "5:14",
            "unknown placeholder {dfw-1.idd}",
        ),
        (head("a") + "steps:\n  - request: /\n    edge: fra\n", "6:11", 'no edge "fra"'),
        (
            head("a") + "steps:\n  - machine: {stop: [ams-1, dfw-2]}\n",
            "5:29",
            'no machine "dfw-2"; did you mean "dfw-1"?',
        ),
        (
            head("a") + "steps:\n  - request: /\n    expect: {served_by: lhr-1}\n",
            "6:25",
            'no machine "lhr-1"',
        ),
        (head("a") + "steps:\n  - request: /\n    expect: {path: [ams-1, x]}\n", "6:28", 'no machine "x"'),
        *(
            (head("a") + f"steps:\n  - {step}\n", f"5:{column}", problem)
            for step, column, problem in (
                ("fault: {silent: dfw-2}", 21, 'no machine "dfw-2"; did you mean "dfw-1"?'),
                ("fault: {reset: {machine: x}}", 30, 'no machine "x"'),
                ("fault: {partition: x}", 24, 'no machine "x"'),
                ("fault: {partition: [ams, x]}", 30, 'no region "x"'),
                ("fault: {latency: {between: [x, dfw], of: 1s}}", 33, 'no region "x"'),
                ("partition: x", 16, 'no machine "x"'),
                ("partition: [ams, dwf]", 22, 'no region "dwf"; did you mean "dfw"?'),
                ("partition: {between: [x, dfw]}", 27, 'no region "x"'),
                ("partition: {edge: x, machine: dfw-1}", 23, 'no edge "x"'),
                ("partition: {edge: ams, machine: x}", 37, 'no machine "x"'),
                ("partition: {edge: ams, region: x}", 36, 'no region "x"'),
                ("heal: x", 11, 'no machine "x"'),
                ("heal: [all, silnt]", 17, 'no machine "silnt"'),
                ("heal: {silent: x}", 20, 'no machine "x"'),
                ("heal: {partition: [x, ams]}", 24, 'no region "x"'),
            )
        ),
    ],
)
async def test_unknown_names_are_reported_before_machines_start(
    simulators: FakeSimulators, tmp_path: Path, text: str, location: str, problem: str
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        await run(simulators, path)
    assert f"{path}:{location}: {problem}" in str(raised.value)
    assert simulators.calls == []


@pytest.mark.parametrize(
    "steps",
    [
        "- machine: {clone: dfw-1, as: new}\n- request: /{new.id}\n  expect: {served_by: new}",
        "- machine: {clone: dfw-1}\n- machine: {stop: dfw-2}\n- request: /{dfw-2.id}",
        "- request: /echo\n  capture: {t: {header: fly-request-id}}\n- request: /echo?{t}",
        "- repeat: 2\n  steps: [{request: '/echo?{round}'}]",
        "- request: /echo\n  expect: {served_by: d8dd626f379508, path: [chat/ams-1]}",
        "- request: /reject\n  expect: {served_by: none}",
        "- request: /echo?{control}{edge.dfw}{chat/dfw-1.id}",
        "- request: /set?cookie=a=1;%20Path=/x\n  expect: {set_cookie: {a: {path: /x}}}",
    ],
)
async def test_names_that_a_scenario_creates_are_valid(
    simulators: FakeSimulators, write: Write, tmp_path: Path, steps: str
) -> None:
    write(steps, name="a.yaml", head=head("a"))
    report = await run(simulators, tmp_path)
    assert report.exit_status in (0, 1)
    assert simulators.opened


async def test_a_scenario_for_another_backend_is_skipped_with_its_reason(
    simulators: FakeSimulators, write: Write, tmp_path: Path
) -> None:
    write(
        PASSES, name="a.yaml", head=head("a", "backends: [docker]\nreason: it needs a network of its own\n")
    )
    report = await run(simulators, tmp_path)
    assert report.summary == "0 passed, 0 failed, 1 skipped"
    assert report.results[0].skipped_because == "it needs a network of its own"
    assert simulators.calls == []


async def test_scenarios_that_do_not_match_the_running_machines_are_skipped(
    simulators: FakeSimulators, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "other.toml").write_text(CONFIG.replace("apps.chat", "apps.things"))
    write(PASSES, name="a.yaml", head=head("a"))
    write(PASSES, name="b.yaml", head=head("b", config="config: other.toml"))

    def adapt(config: Config) -> Config:
        if config.apps[0].app.name != wanted:
            raise InputError(f'the label fly.app is "{wanted}"')
        return config

    wanted = "chat"
    report = await run(simulators, tmp_path, RunOptions(adapt=adapt))
    assert report.summary == "1 passed, 0 failed, 1 skipped"
    skipped = next(each for each in report.results if each.skipped_because)
    assert "other.toml" in skipped.skipped_because
    assert 'the label fly.app is "chat"' in skipped.skipped_because

    wanted = "shop"
    with pytest.raises(InputError, match=r'the label fly\.app is "shop"'):
        await run(simulators, tmp_path, RunOptions(adapt=adapt))


@pytest.mark.parametrize(
    ("fault", "exit_status"),
    [
        (MachineFault("ams-1", "ended with 1", log_tail=("oh no",)), 3),
        (EnvironmentFault("no port is free"), 3),
    ],
)
async def test_a_fleet_that_does_not_start_fails_its_scenarios(
    simulators: FakeSimulators, write: Write, tmp_path: Path, fault: EnvironmentFault, exit_status: int
) -> None:
    write(PASSES, name="0.yaml", head=head("0", "backends: [swarm]\nreason: it is for a swarm\n"))
    write(PASSES, name="a.yaml", head=head("a"))
    write(PASSES, name="b.yaml", head=head("b"))
    simulators.fault = fault
    report = await run(simulators, tmp_path)
    assert (report.summary, report.exit_status) == ("0 passed, 2 failed, 1 skipped", exit_status)
    _, first, second = report.results
    assert first.failure is not None
    assert first.failure.problem == str(fault)
    assert first.seconds > 0 == second.seconds  # Only the first one waited for the start.


@pytest.fixture
def _stops_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: FakeSimulator, machine_id: str) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(FakeSimulator, "stop_machine", broken)


@pytest.mark.usefixtures("_stops_are_broken")
async def test_a_bug_in_flysim_is_reported_and_ends_only_its_scenario(
    simulators: FakeSimulators, write: Write, tmp_path: Path
) -> None:
    write("- machine: {stop: ams-1}", name="a.yaml", head=head("a"))
    write(PASSES, name="b.yaml", head=head("b"))
    report = await run(simulators, tmp_path)
    assert (report.summary, report.exit_status) == ("1 passed, 1 failed", 4)
    failure = report.results[0].failure
    assert failure is not None
    assert (str(failure.location), failure.step) == (f"{tmp_path}/a.yaml:5", "machine stop ams-1")
    problem, path = failure.problem.split("\n  traceback: ")
    assert problem == "internal error in flysim: RuntimeError: a bug"
    assert "Traceback" in Path(path).read_text()
    Path(path).unlink()
    # The reports that a CI system keeps contain the traceback too.
    (case,) = ElementTree.fromstring(junit_xml(report)).iterfind(".//testcase[system-err]")
    assert (case.findtext("system-err") or "").endswith("RuntimeError: a bug\n")
    tracebacks = [
        each["failure"].get("traceback", "") for each in json.loads(json_report(report))["scenarios"][:1]
    ]
    assert "Traceback" in tracebacks[0]


@pytest.mark.parametrize("expect", ["{findings: []}", "{status: 500}"])
async def test_a_bug_in_diagnosis_ends_only_its_scenario(
    simulators: FakeSimulators, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expect: str
) -> None:
    def broken(self: FakeSimulator, trace: Trace) -> list[Any]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(FakeSimulator, "findings", broken)
    write(f"- request: GET /echo\n  expect: {expect}", name="a.yaml", head=head("a"))
    write(PASSES, name="b.yaml", head=head("b"))
    report = await run(simulators, tmp_path)
    assert (report.summary, report.exit_status) == ("1 passed, 1 failed", 4)
    failure = report.results[0].failure
    assert failure is not None
    assert "internal error in flysim: RuntimeError: a bug" in failure.problem
    Path(failure.problem.split("traceback: ")[1]).unlink()


@pytest.mark.usefixtures("_stops_are_broken")
async def test_a_bug_in_one_branch_takes_precedence_over_failures_in_others(
    simulators: FakeSimulators, write: Write, tmp_path: Path
) -> None:
    branches = "  - {request: GET /echo, expect: {status: 500}}\n  - machine: {stop: ams-1}\n"
    write(f"- parallel:\n{branches}", name="a.yaml", head=head("a"))
    report = await run(simulators, tmp_path)
    assert report.exit_status == 4
    failure = report.results[0].failure
    assert failure is not None
    assert "RuntimeError: a bug" in failure.problem
    Path(failure.problem.split("traceback: ")[1]).unlink()


async def test_a_scenario_has_a_timeout(simulators: FakeSimulators, write: Write, tmp_path: Path) -> None:
    write("- request: GET /echo\n- request: GET /slow", name="a.yaml", head=head("a", "timeout: 200ms\n"))
    report = await run(simulators, tmp_path)
    failure = report.results[0].failure
    assert failure is not None
    assert (failure.problem, failure.step) == (
        "the scenario did not finish within its timeout of 200ms",
        "GET /slow",
    )


async def test_only_selected_scenarios_run(simulators: FakeSimulators, write: Write, tmp_path: Path) -> None:
    write(PASSES, name="a.yaml", head=head("first"))
    write(FAILS, name="b.yaml", head=head("second"))
    report = await run(simulators, tmp_path, RunOptions(keyword="not second"))
    assert verdicts(report) == {"first": Verdict.PASSED.value}


async def test_an_interrupted_run_closes_its_simulator(
    simulators: FakeSimulators, write: Write, tmp_path: Path
) -> None:
    write("- websocket: {path: /ws, as: open}\n- request: GET /slow", name="a.yaml", head=head("a"))
    running = asyncio.create_task(run(simulators, tmp_path))
    async with asyncio.timeout(5):
        while not (simulators.opened and simulators.opened[0].journal.traces()):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", int(simulators.opened[0].edges["ams"].rpartition(":")[2]))
