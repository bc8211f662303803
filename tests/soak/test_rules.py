"""Each rule of the soak test accepts a good history and rejects a bad one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.soak import rules
from tests.soak.history import Event, History, merge, read_events
from tests.soak.report import describe, summarize
from tests.soak.rules import RULES, Rule, check

M, OTHER = "00000000000010", "00000000000011"
FAULT = [
    {"at": 99.0, "event": "fault", "id": 1, "kind": "kill", "machines": [M], "values": {}},
    {"at": 101.0, "event": "healed", "id": 1, "grace": 2.0},
]
CLONE_FAULT = [{**FAULT[0], "kind": "clone"}, {**FAULT[1], "machines": ["00000000000099"]}]
REQUEST_ID = "01HF7YAT00000000000000000G-ams"


def sent(nonce: str = "a", at: float = 100.0, **changes: Any) -> Event:
    plan = {
        "kind": "plain",
        "app": "web",
        "method": "GET",
        "allowed": ["web"],
        "expected": "ok",
        "cookie": None,
    }
    return {"at": at, "event": "sent", "n": nonce, "deadline": 20.0, **plan, **changes}


def answered(nonce: str = "a", at: float = 100.1, **changes: Any) -> Event:
    result = {"status": 200, "machine": M, "echo": nonce, "intact": True}
    return {"at": at, "event": "answered", "n": nonce, **result, **changes}


def received(nonce: str = "a", at: float = 100.05, **changes: Any) -> Event:
    values = {"machine": M, "app": "web", "region": "ams", "method": "GET", "src": None, "failed": None}
    return {"at": at, "event": "received", "n": nonce, "request_id": REQUEST_ID, **values, **changes}


def replayed(nonce: str = "a", at: float = 100.06) -> Event:
    return {"at": at, "event": "replayed", "n": nonce, "machine": M, "replay": "region=dfw"}


def outcome(event: str, nonce: str = "a", at: float = 100.2) -> Event:
    return {"at": at, "event": event, "n": nonce, "why": "the connection was closed"}


def socket(**changes: Any) -> Event:
    values = {"page": M, "machines": [M], "messages": 3, "closed": None}
    return {"at": 100.5, "event": "socket", "n": "a", **values, **changes}


def sample(phase: str, at: float = 100.0, **changes: Any) -> Event:
    values = {"rss_mb": 90.0, "fds": 40, "children": 10, "tasks": 11}
    return {"at": at, "event": "sample", "phase": phase, **values, **changes}


def load_samples(seconds: int, mb_per_minute: float) -> list[Event]:
    """With a steep start, as every run has."""
    memory = lambda second: 90.0 + min(second, 20) + second / 60 * mb_per_minute  # noqa: E731
    return [sample("load", 100.0 + second, rss_mb=memory(second)) for second in range(0, seconds + 1, 2)]


EXIT = {"at": 200.0, "event": "exit", "status": 0, "left": []}
EXCHANGE = [sent(), received(), answered()]
REPLAY = [sent(), received(), replayed(), received(src="instance=1"), answered()]
FALLBACK = [sent(), received(), replayed(), received(failed="instance=1"), answered()]

# Rule -> histories that it accepts, histories that it rejects.
CASES: dict[Rule, tuple[list[list[Event]], list[list[Event]]]] = {
    rules.each_request_has_one_outcome: (
        [EXCHANGE, [sent(), outcome("left")], [sent(), outcome("broken")]],
        [
            [sent()],
            [sent(), answered(), answered()],
            [sent(), answered(), outcome("broken")],
            [sent(), sent(), answered()],
            [received()],
        ],
    ),
    rules.each_response_belongs_to_its_request: (
        [EXCHANGE, [sent(), answered(status=502, echo=None, machine=None, intact=False)]],
        [
            [sent(), answered(echo="b")],
            [sent(), answered(intact=False)],
            [*EXCHANGE, {"at": 101.0, "event": "unexpected", "data": "HTTP/1.1 200 OK"}],
        ],
    ),
    rules.an_error_has_a_fault_as_its_reason: (
        [
            EXCHANGE,
            [*FAULT, sent(), answered(status=502)],
            [*FAULT, sent(at=102.5), outcome("broken", at=102.6)],  # after its end, but within the grace
            [sent(expected="refused"), answered(status=502)],
            [sent(expected="aborted"), outcome("broken")],
            [sent(), outcome("left")],
        ],
        [
            [sent(), answered(status=502)],
            [sent(), outcome("broken")],
            [*FAULT, sent(at=104.0), answered(at=104.1, status=502)],
            [*FAULT, sent(at=98.0), outcome("broken", at=98.5)],
        ],
    ),
    rules.a_refused_replay_is_an_error: (
        [[sent(expected="refused"), answered(status=502)], [sent(expected="refused"), outcome("broken")]],
        [[sent(expected="refused"), answered(status=200)]],
    ),
    rules.a_request_is_delivered_at_most_eleven_times: (
        [[sent(), *[received()] * 11, answered()]],
        [[sent(), *[received()] * 12, answered()]],
    ),
    rules.a_retry_never_repeats_a_request_that_a_machine_received: (
        [
            EXCHANGE,
            REPLAY,
            FALLBACK,
            [sent(), outcome("broken")],
            [sent(), received(), replayed(), answered()],
        ],
        [
            [sent(), received(), received(machine=OTHER), answered()],
            [*REPLAY, received(machine=OTHER)],
            [sent(), received(), received(failed="instance=1"), answered()],
            [*FALLBACK, received(failed="instance=1")],
        ],
    ),
    rules.a_request_keeps_its_id: (
        [EXCHANGE, REPLAY],
        [
            [sent(), received(), replayed(), received(request_id="other-ams"), answered()],
            [*EXCHANGE, sent("b"), received("b"), answered("b")],
        ],
    ),
    rules.a_request_stays_in_its_app_network_and_organization: (
        [EXCHANGE, [sent(allowed=["web", "api"]), received(app="api"), answered()]],
        [[sent(), received(app="api"), answered()], [sent(), received(), received(app="vault"), answered()]],
    ),
    rules.a_session_stays_on_its_machine: (
        [EXCHANGE, [sent(cookie=M), answered()], [sent(cookie=M), answered(status=502, machine=None)]],
        [[sent(cookie=M), answered(machine=OTHER)]],
    ),
    rules.a_websocket_is_on_the_machine_of_its_page: (
        [
            [*EXCHANGE, socket()],
            [*FAULT, *EXCHANGE, socket(closed="1006")],
            [*EXCHANGE, socket(machines=[])],
            [*CLONE_FAULT, *EXCHANGE, socket(page="00000000000099", machines=[], closed="1006")],
        ],
        [
            [*EXCHANGE, socket(machines=[OTHER])],
            [*EXCHANGE, socket(machines=[M, OTHER])],
            [*EXCHANGE, socket(closed="1006")],
            [
                *FAULT,
                *EXCHANGE,
                socket(page=OTHER, machines=[OTHER], closed="1006"),
            ],  # another machine's fault
        ],
    ),
    rules.nothing_outlasts_its_deadline: (
        [EXCHANGE, [sent(), answered(at=120.0)]],
        [[sent(), outcome("hung", at=120.0)], [sent(), answered(at=125.0)]],
    ),
    rules.resources_return_to_their_start: (
        [
            [sample("start"), sample("load", fds=900, tasks=500), sample("end")],
            [sample("start"), sample("end", fds=39, tasks=10)],
        ],
        [
            [sample("start"), sample("end", fds=41)],
            [sample("start"), sample("end", tasks=12)],
            [sample("start"), sample("end", children=11)],
            [sample("start")],
            [],
        ],
    ),
    rules.memory_does_not_grow: (
        [load_samples(300, 0.0), load_samples(300, 0.05), load_samples(60, 5.0), []],
        [load_samples(300, 0.5), load_samples(600, 0.2)],
    ),
    rules.flysim_reports_no_error_and_ends_cleanly: (
        [[EXIT]],
        [
            [],
            [EXIT | {"status": 130}],
            [EXIT | {"left": ["17 python app.py"]}],
            [EXIT, {"at": 150.0, "event": "output", "line": "Traceback (most recent call last):"}],
        ],
    ),
}


def test_each_rule_has_cases() -> None:
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_accepts_good_histories(rule: Rule) -> None:
    for events in CASES[rule][0]:
        assert list(rule(History(events))) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_rejects_bad_histories(rule: Rule) -> None:
    for events in CASES[rule][1]:
        assert list(rule(History(events))), events


def test_a_violation_shows_the_rule_and_its_lines() -> None:
    start = {"at": 90.0, "event": "start", "seed": 1, "seconds": 10.0}
    history = History([start, sample("start"), *EXCHANGE, sent("b"), sample("end"), EXIT])

    (violation,) = check(history)

    assert list(describe([violation])) == [
        "violated: each request has one outcome: request b has 0 outcomes",
        f"  {json.dumps(sent('b'))}",
    ]
    assert "requests    2, and 0 WebSocket messages: 0 per second" in list(summarize(history))


def test_the_logs_of_machines_become_part_of_the_history(tmp_path: Path) -> None:
    """The log of a killed machine may end in the middle of a line."""
    history, log = tmp_path / "history.jsonl", tmp_path / "machine.jsonl"
    history.write_text(json.dumps(sent()) + "\n" + json.dumps(answered()) + "\n")
    log.write_text(json.dumps(received()) + '\n{"at": 100')

    merge(history, [log])

    assert read_events(history) == [sent(), received(), answered()]


def test_a_stored_history_can_be_checked_again(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    start = {"at": 90.0, "event": "start", "seed": 1, "seconds": 10.0}
    events = [start, sample("start"), sent(), sample("end"), EXIT]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    command = [sys.executable, "-m", "tests.soak.check", str(path)]

    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )

    assert result.returncode == 1
    assert "violated: each request has one outcome: request a has 0 outcomes" in result.stdout
