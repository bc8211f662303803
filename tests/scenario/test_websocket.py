from __future__ import annotations

import pytest

from tests.scenario.conftest import RunStep
from tests.scenario.harness import FakeSimulator
from tests.scenario.verdict import assert_passed, mismatches_of, problem_of

OPEN = "- websocket: {path: /ws, as: mine}\n"


async def test_a_websocket_takes_the_jars_cookies_with_it_and_says_where_it_is_from(
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


async def test_what_is_sent_comes_back_as_it_was(run_step: RunStep) -> None:
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


async def test_other_messages_in_between_are_passed_over(run_step: RunStep) -> None:
    assert_passed(
        await run_step("- websocket: /ws\n  send: [a, b, c]\n  expect: {messages: [a, {matches: '^c$'}]}")
    )


@pytest.mark.parametrize(
    ("expect", "expected"),
    [
        ("messages: [b, a]", 'one that is "a"'),
        ("messages: [{contains: never}]", 'one that contains "never"'),
        ("messages: [{json: {a: 1}}]", 'one that is JSON with {"a": 1}'),
        ("messages: [{bytes: 3}]", "one that is 3 bytes long"),
        ("messages: [{contains: hello}, b], exact: true", 'next, one that is "b"'),
        ("messages: [{binary: true}]", "one that is binary"),
    ],
)
async def test_a_message_that_does_not_come_fails_with_those_that_came(
    run_step: RunStep, expect: str, expected: str
) -> None:
    found = mismatches_of(
        await run_step(f"- websocket: /ws\n  send: [a, b]\n  timeout: 2s\n  expect: {{{expect}}}")
    )
    assert found["messages"][0] == expected
    assert found["messages"][1].splitlines()[-2:] == ['"a"', '"b"']


async def test_messages_are_held_against_what_was_expected_though_the_handshake_went_elsewhere(
    run_step: RunStep,
) -> None:
    found = mismatches_of(
        await run_step(
            "- websocket: /ws\n  send: [a]\n  timeout: 1500ms\n"
            "  expect: {served_by: dfw-1, messages: [{contains: never}]}"
        )
    )
    assert found["served_by"] == ("dfw-1", "ams-1")
    assert found["messages"][0] == 'one that contains "never"'


async def test_each_step_looks_at_messages_that_came_after_those_seen_before(run_step: RunStep) -> None:
    found = mismatches_of(
        await run_step(
            OPEN
            + "- websocket: {use: mine, send: [a, b]}\n  expect: {messages: [a]}\n"
            + "- websocket: {use: mine, timeout: 600ms}\n  expect: {messages: [b, a]}"
        )
    )
    assert found == {"messages": ('one that is "a"', '\n"b"')}


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


async def test_routing_is_held_against_the_handshake_also_later(run_step: RunStep) -> None:
    found = mismatches_of(await run_step(OPEN + "- websocket: {use: mine}\n  expect: {served_by: dfw-1}"))
    assert found == {"served_by": ("dfw-1", "ams-1")}


async def test_the_other_sides_close_is_seen(run_step: RunStep) -> None:
    assert_passed(
        await run_step(
            "- websocket: /ws\n  send: close\n  expect: {close_code: 4000, close_reason: as you wish}"
        )
    )


async def test_a_close_that_does_not_come_fails(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- websocket: /ws\n  timeout: 1500ms\n  expect: {close_code: 1000}"))
    assert found == {"close_code": ("1000", "it is still open")}


async def test_another_close_code_fails(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- websocket: /ws\n  send: close\n  expect: {close_code: 1000}"))
    assert found == {"close_code": ("1000", "4000")}


async def test_nothing_can_be_sent_on_a_socket_that_is_closed(run_step: RunStep) -> None:
    result = await run_step(
        OPEN
        + "- websocket: {use: mine, send: close}\n  expect: {close_code: 4000}\n"
        + "- websocket: {use: mine, send: more}"
    )
    assert problem_of(result).startswith("nothing can be sent: ")


async def test_a_name_that_nobody_gave_is_an_error(run_step: RunStep) -> None:
    result = await run_step(OPEN + "- websocket: {use: yours}")
    assert problem_of(result) == 'no WebSocket "yours" is open\n  expected: one of mine'


async def test_a_refused_handshake_may_be_expected(run_step: RunStep) -> None:
    assert_passed(
        await run_step(
            "- websocket: /ws/refused\n  expect: {status: 403, body: not for you, served_by: ams-1}"
        )
    )


async def test_a_refused_handshake_fails_where_nothing_was_said_of_it(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- websocket: /ws/refused"))
    assert found == {"status": ("101", "403")}


async def test_no_message_can_be_expected_of_a_refused_handshake(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- websocket: /ws/refused\n  expect: {status: 403, messages: [x]}"))
    assert found == {"handshake": ("an open WebSocket", "it was refused with 403")}


async def test_a_handshake_that_cannot_be_made_is_a_disconnect(
    run_step: RunStep, simulator: FakeSimulator
) -> None:
    simulator.edges["ams"] = "http://127.0.0.1:1"
    found = mismatches_of(await run_step("- websocket: /ws"))
    assert found["answer"][1].startswith("the handshake failed: ")
    assert_passed(await run_step("- websocket: /ws\n  expect: {error: disconnect}"))


async def test_a_subprotocol_is_agreed_on(run_step: RunStep) -> None:
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
