"""Step `websocket`: handshakes, messages and closes."""

from __future__ import annotations

import pytest

from tests.scenario.conftest import RunStep
from tests.scenario.harness import FakeSimulator
from tests.scenario.verdict import assert_passed, mismatches_of, problem_of

OPEN = "- websocket: {path: /ws, as: mine}\n"


async def test_a_handshake_sends_cookies_and_origin(
    run_step: RunStep,
) -> None:
    assert_passed(
        await run_step("""
            - request: GET /set?cookie=fly-machine-id={dfw-1.id};%20Path=/
            - websocket: /ws
              expect:
                status: 101
                served_by: dfw-1
                path: [ams-1, dfw-1]
                cookies_sent: [fly-machine-id]
                messages: [{json: {type: hello, cookies: {fly-machine-id: "{dfw-1.id}"}, origin: "{edge.ams}"}}]
        """)
    )


async def test_messages_of_all_kinds_are_sent_and_received(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - websocket: /ws
              send: [plain, {text: 0123}, {json: {a: 1}}, {bytes: 70000}, {hex: "00ff"}]
              expect:
                exact: true
                messages:
                  - {contains: hello}
                  - plain
                  - "0123"
                  - {json: {a: 1}}
                  - {bytes: 70000}
                  - {bytes: 2, binary: true}
        """)
    )


async def test_other_messages_in_between_are_skipped(run_step: RunStep) -> None:
    assert_passed(
        await run_step("- websocket: /ws\n  send: [a, b, c]\n  expect: {messages: [a, {matches: '^c$'}]}")
    )


@pytest.mark.parametrize(
    ("expect", "expected"),
    [
        ("messages: [b, a]", 'a message that is "a"'),
        ("messages: [{contains: never}]", 'a message that contains "never"'),
        ("messages: [{json: {a: 1}}]", 'a message that is JSON with {"a": 1}'),
        ("messages: [{bytes: 3}]", "a message that is 3 bytes long"),
        ("messages: [{contains: hello}, b], exact: true", 'the next message is "b"'),
        ("messages: [{binary: true}]", "a message that is binary"),
    ],
)
async def test_a_missing_message_fails_and_lists_the_received_ones(
    run_step: RunStep, expect: str, expected: str
) -> None:
    found = mismatches_of(
        await run_step(f"- websocket: /ws\n  send: [a, b]\n  timeout: 2s\n  expect: {{{expect}}}")
    )
    assert found["messages"][0] == expected
    assert found["messages"][1].splitlines()[-2:] == ['"a"', '"b"']


async def test_messages_are_checked_even_if_the_handshake_has_mismatches(
    run_step: RunStep,
) -> None:
    found = mismatches_of(
        await run_step(
            "- websocket: /ws\n  send: [a]\n  timeout: 1500ms\n"
            "  expect: {served_by: dfw-1, messages: [{contains: never}]}"
        )
    )
    assert found["served_by"] == ("dfw-1", "ams-1")
    assert found["messages"][0] == 'a message that contains "never"'


async def test_each_step_checks_only_messages_after_those_already_checked(run_step: RunStep) -> None:
    found = mismatches_of(
        await run_step(
            OPEN
            + "- websocket: {use: mine, send: [a, b]}\n  expect: {messages: [a]}\n"
            + "- websocket: {use: mine, timeout: 600ms}\n  expect: {messages: [b, a]}"
        )
    )
    assert found == {"messages": ('a message that is "a"', '\n"b"')}


async def test_a_websocket_stays_open_under_its_name(run_step: RunStep) -> None:
    assert_passed(
        await run_step(
            """
            - client: anna
            - websocket: {path: /ws, as: anna's}
            - client: bert
            - websocket: {path: /ws, as: bert's, edge: dfw}
            - websocket: {use: anna's, send: one}
              expect: {messages: [one], served_by: ams-1}
            - websocket: {use: bert's, send: two, close: {code: 4001, reason: bye}}
              expect: {messages: [two], served_by: dfw-1, close_code: 4001, close_reason: bye}
            """
        )
    )


async def test_later_steps_check_the_route_of_the_handshake(run_step: RunStep) -> None:
    found = mismatches_of(await run_step(OPEN + "- websocket: {use: mine}\n  expect: {served_by: dfw-1}"))
    assert found == {"served_by": ("dfw-1", "ams-1")}


async def test_a_close_by_the_app_is_checked(run_step: RunStep) -> None:
    assert_passed(
        await run_step(
            "- websocket: /ws\n  send: close\n  expect: {close_code: 4000, close_reason: as you wish}"
        )
    )


async def test_a_missing_close_fails(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- websocket: /ws\n  timeout: 1500ms\n  expect: {close_code: 1000}"))
    assert found == {"close_code": ("1000", "still open")}


async def test_a_different_close_code_fails(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- websocket: /ws\n  send: close\n  expect: {close_code: 1000}"))
    assert found == {"close_code": ("1000", "4000")}


async def test_sending_on_a_closed_websocket_fails(run_step: RunStep) -> None:
    result = await run_step(
        OPEN
        + "- websocket: {use: mine, send: close}\n  expect: {close_code: 4000}\n"
        + "- websocket: {use: mine, send: more}"
    )
    assert problem_of(result).startswith("cannot send a message: ")


async def test_an_unknown_websocket_name_is_an_error(run_step: RunStep) -> None:
    result = await run_step(OPEN + "- websocket: {use: yours}")
    assert problem_of(result) == 'no WebSocket "yours" is open\n  expected: one of mine'


async def test_a_rejected_handshake_can_be_expected(run_step: RunStep) -> None:
    assert_passed(
        await run_step(
            "- websocket: /ws/refused\n  expect: {status: 403, body: not for you, served_by: ams-1}"
        )
    )


async def test_an_unexpected_rejected_handshake_fails(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- websocket: /ws/refused"))
    assert found == {"status": ("101", "403")}


async def test_messages_after_a_rejected_handshake_fail(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- websocket: /ws/refused\n  expect: {status: 403, messages: [x]}"))
    assert found == {"handshake": ("an open WebSocket", "rejected with status 403")}


async def test_a_failed_handshake_is_a_disconnect(run_step: RunStep, simulator: FakeSimulator) -> None:
    simulator.edges["ams"] = "http://127.0.0.1:1"
    found = mismatches_of(await run_step("- websocket: /ws"))
    assert found["response"][1].startswith("the handshake failed: ")
    assert_passed(await run_step("- websocket: /ws\n  expect: {error: disconnect}"))


async def test_a_subprotocol_is_negotiated(run_step: RunStep) -> None:
    assert_passed(
        await run_step("- websocket: {path: /ws, subprotocols: [chat, other]}\n  expect: {subprotocol: chat}")
    )


async def test_messages_can_be_captured(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - websocket: /ws
              send: token=abc
              expect: {messages: [{contains: token}]}
              capture: {token: {message: "token=(.*)"}}
            - request: GET /echo?t={token}
              expect: {json: {query: {t: abc}}}
        """)
    )
