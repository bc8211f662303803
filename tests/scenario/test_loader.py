"""Loader for scenario files: valid files, and the errors with their positions."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.scenario import load_scenario, load_scenarios
from tests.scenario.conftest import HEAD, Write

STEP = "- request: GET /"


def error_lines(path: Path) -> list[str]:
    """Each error without the file's name."""
    with pytest.raises(InputError) as raised:
        load_scenario(path)
    assert raised.value.exit_status == 2
    return [line.removeprefix(f"{path}:") for line in str(raised.value).splitlines()]


def test_a_scenario_is_loaded(write: Write) -> None:
    scenario = load_scenario(
        write(STEP, head="version: 1\nname: no\nconfig: x.toml\nseed: 7\ntags: [a, b]\n")
    )
    assert (scenario.name, scenario.config, scenario.seed, scenario.tags) == ("no", "x.toml", 7, ["a", "b"])
    assert [step.title for step in scenario.steps] == ["GET /"]


def test_a_scenario_names_the_rules_that_it_proves(write: Write) -> None:
    head = "version: 1\nname: no\nconfig: x.toml\nholds: {R-1: a POST, R-2: [grace, interval]}\n"
    assert load_scenario(write(STEP, head=head)).holds == {
        "R-1": ["a POST"],
        "R-2": ["grace", "interval"],
    }
    path = write(STEP, head="version: 1\nname: no\nconfig: x.toml\nholds: [R-1]\n")
    (line, *_) = error_lines(path)
    assert line.startswith("4:8: holds: a list of 1 item")


def test_steps_have_their_locations_even_inside_other_steps(write: Write) -> None:
    scenario = load_scenario(
        write("""
            - repeat: 2
              steps:
                - request: GET /a
            - parallel:
                - [{request: GET /b}]
                - wait_until:
                    request: GET /c
        """)
    )
    repeat, parallel = scenario.steps
    lines = [step.location.line for step in scenario.steps if step.location]
    assert lines == [5, 8]
    assert [child.location.line for _, child in repeat.children() if child.location] == [7]
    inner = [child for _, child in parallel.children()]
    assert [child.location.line for child in inner if child.location] == [9, 10]
    assert [child.location.line for _, child in inner[1].children() if child.location] == [11]


@pytest.mark.parametrize(
    ("step", "location", "problem", "expected"),
    [
        ("{reqest: GET /}", "5:3", 'unknown step "reqest"; did you mean "request"?', "one of request, websocket"),
        ("hello", "5:3", '"hello"', "a step: a mapping with one of"),
        ("{}", "5:3", "empty step", "one of request"),
        ("{sleep: 5}", "5:3", 'unknown step "sleep"', "wait_until: to wait for a condition"),
        ("{wait: 5s}", "5:3", 'unknown step "wait"', "wait_until: to wait for a condition"),
        ("{fault: {}}", "5:11", "fault: no fault in one step", "one of stop, kill"),
        ("{fault: dfw-1}", "5:11", 'fault: "dfw-1"', "a mapping with one of stop, kill"),
        ("{fault: {silnt: dfw-1}}", "5:12", 'unknown key "silnt" in fault; did you mean "silent"?',
         "one of fail_first, kill"),
        ("{fault: {silent: a, kill: b}}", "5:11", 'fault: "kill:" and "silent:" in one step', "one of stop"),
        ("{fault: {silent: {machine: a, for: 1s}}}", "5:33", 'unknown key "for" in fault.silent', "one of machine"),
        ("{fault: {silent: true}}", "5:20", "fault.silent: true", "a string"),
        ("{fault: {slow_start: dfw-1}}", "5:24", 'missing key "by" in fault.slow_start', "by: with a value"),
        ("{fault: {slow_start: {machine: a, by: 2}}}", "5:41", "fault.slow_start.by: 2, a duration without",
         "a duration, such as"),
        ("{fault: {latency: 1s}}", "5:21", 'fault.latency: "1s"', "a mapping with between:, of:"),
        ("{fault: {latency: {between: [ams], of: 1s}}}", "5:31", "fault.latency.between: a list of 1 item",
         "two regions"),
        ("{fault: {latency: {between: [ams, dfw], of: 0s}}}", "5:47", "fault.latency.of: ", "greater than 0"),
        ("{fault: {fail_first: {machine: a, times: 0}}}", "5:44", "fault.fail_first.times: 0", "1 or more"),
        ("{fault: {fail_first: {machine: a, with: refuze}}}", "5:43",
         'fault.fail_first.with: "refuze"; did you mean "refuse"?', "one of refuse, reset, unreachable, close, or a"),
        ("{fault: {fail_first: {machine: a, with: 404}}}", "5:43", "fault.fail_first.with: 404", "one of refuse"),
        ("{fault: {reset: {machine: a, after: 10kb}}}", "5:39", 'fault.reset.after: "10kb"', "a number of bytes"),
        ("{partition: [ams]}", "5:15", "partition: a list of 1 item", "two regions, such as [ams, dfw]"),
        ("{partition: {edge: ams}}", "5:15", 'partition: a partition with "edge:"', "two regions, machine:, edge:"),
        ("{partition: {machine: a, region: b}}", "5:15", 'partition: a partition with "region:" and "machine:"',
         "two regions"),
        ("{heal: {}}", "5:10", "heal: no fault in one step", "one of stop"),
        ("{heal: {silnt: dfw-1}}", "5:11", 'unknown key "silnt" in heal; did you mean "silent"?', "one of fail_first"),
        ("{heal: []}", "5:10", "heal: an empty list", "at least one"),
        ("{heal: true}", "5:10", "heal: true", "a string"),
        ("{request: GET /, websocket: /}", "5:3", '"request:" and "websocket:" in one step', "two steps"),
        ("{request: GET /, expct: {status: 200}}", "5:20", 'unknown key "expct"; did you mean "expect"?', "one of"),
        ("{request: {path: /, bdy: x}}", "5:23", 'unknown key "bdy" in request; did you mean "body"?', "one of"),
        ("{request: GET /, expect: {statsu: 200}}", "5:29", 'unknown key "statsu" in expect; did you mean "status"?',
         "one of body, cookies_sent"),
        ("{request: GET /, expect: {status: ok}}", "5:37", 'expect.status: "ok"', "an integer"),
        ("{request: GET /, expect: {status: '200'}}", "5:37", 'expect.status: "200"', "an integer"),
        ("{request: GET /, expect: {status: 2xx}}", "5:37", 'expect.status: "2xx"',
         "an integer, or a list of integers: [200, 201]"),
        ("{request: GET /, expect: {error: PA99}}", "5:36", 'expect.error: "PA99"', "one of PA01"),
        ("{request: GET /, expect: {error: pr04}}", "5:36", 'expect.error: "pr04"; did you mean "PR04"?', "one of"),
        ("{request: GET /, expect: {findings: [replay-lop]}}", "5:40",
         'expect.findings: "replay-lop"; did you mean "replay-loop"?', "one of self-replay, replay-loop"),
        ("{request: GET /, expect: {body: {dfw-1.id}}}", "5:36", "{dfw-1.id} without quotes is a mapping in YAML",
         '"{dfw-1.id}", in quotes'),
        ("{request: GET /, headers: {X-A: {edge.ams}}}", "5:36", "{edge.ams} without quotes is a mapping in YAML",
         '"{edge.ams}", in quotes'),
        ("{request: GET /, expect: {status: 99}}", "5:37", "expect.status: 99", "100 or more"),
        ("{request: GET /, expect: {status: [200, x]}}", "5:43", 'expect.status: "x"', "an integer"),
        ("{request: GET /, expect: {error: 404}}", "5:36", 'expect.error: "404"', "one of PA01, PA02"),
        ("{request: GET /, expect: {body: {matches: '['}}}", "5:45", "expect.body.matches: invalid regular expression",
         "the syntax of Python's re module"),
        ("{request: GET /, expect: {body: {}}}", "5:35", "expect.body: an empty mapping", "a string"),
        ("{request: GET /, expect: {}}", "5:28", "expect: an empty mapping", "at least one expectation"),
        ("{request: GET /, expect: 200}", "5:28", "expect: 200", "a mapping with keys such as status:"),
        ("{request: GET /, expect: {logs: [{machine: a}]}}", "5:36", "expect.logs: a log line without a condition",
         "contains:, equals: or matches:"),
        ("{request: GET /, headers: {a: true}}", "5:33", "headers.a: true", 'a string; quote the word: "true"'),
        ("{request: GET /, timeout: 5}", "5:29", "timeout: 5, a duration without a unit", "a duration"),
        ("{request: GET /, body: a, json: b}", "5:3", '"body:" and "json:" in one request', "one of them"),
        ("{request: not a request}", "5:3", '"not a request"', 'a request such as "GET /x?y=z"'),
        ("{request: GET /, method: PUT}", "5:3", '"method:" in addition to "GET /"', "the method in one of the two"),
        ("{request: {path: /, edge: a}, edge: b}", "5:3", '"edge:" both inside "request:" and next to it',
         '"edge:" in one of the two places'),
        ("{request: {path: /, url: /}}", "5:3", '"path:" and "url:" inside "request:"', '"path:" only'),
        ("{request: /, edge: a, direct: b}", "5:3", '"edge:" and "direct:" together', "only one of them"),
        ("{request: /, port: 9090, direct: b}", "5:3", '"port:" and "direct:" together', "only one of them"),
        ("{request: /, port: 0}", "5:22", "port: 0", "1 or more"),
        ("{websocket: {}}", "5:3", "neither a path nor use:", "one of the two"),
        ("{websocket: {use: a, edge: ams}}", "5:3", '"edge:" together with use:', "this key in the step that opens"),
        ("{websocket: /, send: {json: 1, text: b}}", "5:24", "send: 2 kinds of content in one message", "exactly one"),
        ("{websocket: /, expect: {close_code: x}}", "5:39", 'expect.close_code: "x"', "an integer"),
        ("{machine: {stp: dfw-1}}", "5:14", 'unknown key "stp" in machine; did you mean "stop"?', "one of as, clone"),
        ("{machine: {}}", "5:13", "machine: no action in one step", "one of start, stop"),
        ("{machine: {stop: a, start: b}}", "5:13", 'machine: "start:" and "stop:" in one step', "one of start"),
        ("{machine: {stop: a, region: ams}}", "5:13", 'machine: "region:" or "as:" with "stop:"', "these keys"),
        ("{wait_until: {machine: {a: strted}}}", "5:16", 'wait_until: unknown state "strted" for a', "one of healthy"),
        ("{wait_until: {reqest: GET /}}", "5:16", 'wait_until: unknown step "reqest"; did you mean', "one of"),
        ("{wait_until: GET /}", "5:16", 'wait_until: "GET /"', "a step: a mapping"),
        ("{repeat: 0, steps: [{request: /}]}", "5:12", "repeat: 0", "1 or more"),
        ("{repeat: 2}", "5:3", 'missing key "steps"', "steps: with a list of steps"),
        ("{repeat: 2, steps: []}", "5:22", "steps: an empty list", "at least one"),
        ("{parallel: []}", "5:14", "parallel: an empty list", "at least one"),
        ("{advance: -1s}", "5:13", 'advance: "-1s"', "a duration"),
        ("{shell: ls, expect: {exit: one}}", "5:30", 'expect.exit: "one"', "an integer"),
        ("{shell: [ls, true]}", "5:11", "shell: true", "a string"),
        ("{client: {name: a, edg: b}}", "5:22", 'unknown key "edg" in client; did you mean "edge"?', "one of client"),
        ("{request: GET /, capture: {a: {header: x, cookie: y}}}", "5:33", "capture.a: 2 sources for one value",
         "exactly one of header:, cookie:"),
    ],
)  # fmt: skip
def test_errors_in_steps_have_location_problem_and_expectation(
    write: Write, step: str, location: str, problem: str, expected: str
) -> None:
    first, second, *more = error_lines(write(f"- {step}"))
    assert more == []
    assert first.startswith(f"{location}: {problem}"), first
    assert second.startswith(f"  expected: {expected}"), second


@pytest.mark.parametrize(
    ("head", "location", "problem"),
    [
        ("version: 2\nname: a\nconfig: b\n", "1:10", "version: 2"),
        ("version: '1'\nname: a\nconfig: b\n", "1:10", 'version: "1"'),
        ("name: a\nconfig: b\n", "1:1", 'missing key "version"'),
        ("version: 1\nconfig: b\n", "1:1", 'missing key "name"'),
        ("version: 1\nname: a\n", "1:1", "neither config: nor fleet: is given"),
        ("version: 1\nname: a\nconfig: b\nfleet: {}\n", "1:1", "both config: and fleet: are given"),
        ("version: 1\nname:\nconfig: b\n", "2:1", '"name:" has no value'),
        ("version: 1\nname: a\nconfig: b\nseed: -1\n", "4:7", "seed: -1"),
        ("version: 1\nname: a\nconfig: b\nbackends: [process]\n", "1:1", "backends: without reason:"),
        ("version: 1\nname: a\nconfig: b\nbackends: [vm]\n", "4:12", 'backends: "vm"'),
        (
            "version: 1\nname: a\nconfig: b\ntimout: 3s\n",
            "4:1",
            'unknown key "timout"; did you mean "timeout"?',
        ),
    ],
)
def test_errors_outside_steps_have_location_and_problem(
    write: Write, head: str, location: str, problem: str
) -> None:
    assert error_lines(write(STEP, head=head))[0].startswith(f"{location}: {problem}")


def test_an_empty_expectation_is_an_error(write: Write) -> None:
    (first, _) = error_lines(write("- request: GET /\n  expect:\n    served_by:\n    status: 200"))
    assert first == '7:5: "served_by:" has no value'


def test_empty_steps_are_reported_once(write: Write) -> None:
    assert error_lines(write("")) == [
        '4:1: "steps:" has no value',
        '  expected: a value; if you do not need "steps:", remove it',
    ]


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# to be done\n")
    assert error_lines(path)[0] == "1:1: the file is empty"


def test_a_config_file_is_not_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "flysim.toml"
    path.write_text("version = 1\n")
    first, second = error_lines(path)
    assert first == " this is a config file, not a scenario file"
    assert "config: flysim.toml" in second


def test_errors_in_all_files_are_reported_together(write: Write, tmp_path: Path) -> None:
    write("- reqest: GET /\n- request: GET /\n  expt: {}", name="a.yaml")
    write("- advance: soon", name="sub/b.yml")
    with pytest.raises(InputError) as raised:
        load_scenarios([tmp_path, tmp_path / "none.yaml"])
    text = str(raised.value)
    for location in ("a.yaml:5:3", "a.yaml:7:3", "sub/b.yml:5:12", "none.yaml: no such file or folder"):
        assert location in text


def test_a_folder_is_searched_recursively_and_in_order(write: Write, tmp_path: Path) -> None:
    for name in ("b.yaml", "a/z.yml", "a/c.yaml", ".hidden/d.yaml", "node_modules/e.yaml", "notes.txt"):
        write(STEP, name=name)
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    (tmp_path / "old-compose.yaml").write_text("version: '3'\nservices: {}\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    found = [str(scenario.path.relative_to(tmp_path)) for scenario in load_scenarios([tmp_path])]
    assert found == ["a/c.yaml", "a/z.yml", "b.yaml"]


def test_a_scenario_with_a_typo_in_steps_is_not_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{HEAD}stpes: []\n")
    with pytest.raises(InputError, match='unknown key "stpes"; did you mean "steps"'):
        load_scenarios([tmp_path])


def test_a_file_given_as_a_path_must_be_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services: {}\n")
    with pytest.raises(InputError, match='unknown key "services"'):
        load_scenarios([path])


def test_a_file_given_several_times_is_loaded_once(write: Write, tmp_path: Path) -> None:
    path = write(STEP)
    assert len(load_scenarios([path, tmp_path, path])) == 1


def test_a_folder_without_scenarios_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scenario files in"):
        load_scenarios([tmp_path])


def test_the_scenarios_of_this_repository_are_valid() -> None:
    scenarios = load_scenarios([Path(__file__).parents[2] / "scenarios"])
    names = [scenario.name for scenario in scenarios]
    assert len(names) >= 12
    assert len(set(names)) == len(names)
