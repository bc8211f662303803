"""Step `request`: requests, expectations, cookies and captured values."""

from __future__ import annotations

import pytest

from tests.scenario.conftest import RunStep
from tests.scenario.harness import DFW, FakeSimulator
from tests.scenario.verdict import assert_passed, mismatches_of, problem_of


async def test_all_expectations_on_a_response_are_checked(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - request: GET /echo?instance={dfw-1.id}&x=1
              edge: ams
              expect:
                status: 200
                served_by: dfw-1
                path: [ams-1, dfw-1]
                hops: 2
                error: none
                headers: {content-type: application/json}
                json: {method: GET, query: {x: "1"}}
                body: {contains: [method, query], not_contains: POST, matches: '"x": ?"1"'}
                within: 5s
        """)
    )


@pytest.mark.parametrize(
    ("expect", "what", "expected", "actual"),
    [
        ("status: 404", "status", "404", "200"),
        ("status: [404, 500]", "status", "404 or 500", "200"),
        ("served_by: dfw-1", "served_by", "dfw-1", "ams-1"),
        ("served_by: 286533db064e58", "served_by", "286533db064e58 (dfw-1)", "ams-1"),
        ("served_by: none", "served_by", "none", "ams-1"),
        ("path: [dfw-1, ams-1]", "path", "dfw-1 → ams-1", "ams-1"),
        ("hops: 2", "hops", "2", "1"),
        ("error: PR04", "error", "PR04", "none"),
        ("headers: {x-none: a}", "header x-none", '"a"', "absent"),
        ("headers: {content-type: {absent: true}}", "header content-type", "absent", '"application/json"'),
        ("headers: {content-type: {contains: html}}", "header content-type",
         'text that contains "html"', '"application/json"'),
        ("json: {method: POST}", "json.method", '"POST"', '"GET"'),
        ("json: {query: {x: 1}}", "json.query.x", "1", "no such key; the object is empty"),
        ("json: [1]", "json", "[1]", "{"),
        ("body: {matches: ^nothing$}", "body", "text that matches /^nothing$/", '"{'),
        ("set_cookie: {a: b}", "set_cookie a", '"b"', "not set; cookies set: none"),
        ("cookies_sent: [a]", "cookies_sent", "a", "none"),
        ("cookies_withheld: {a: {contains: Path}}", "cookies_withheld a", 'contains "Path"',
         "the client has no such cookie"),
        ("findings: [stale-cookie]", "findings", "stale-cookie", "none"),
        ("logs: [{machine: ams-1, contains: hello}]", "logs", 'ams-1: a line that contains "hello"',
         "nothing was logged"),
    ],
)  # fmt: skip
async def test_a_mismatch_has_expected_and_actual_text(
    run_step: RunStep, expect: str, what: str, expected: str, actual: str
) -> None:
    found = mismatches_of(await run_step(f"- request: GET /echo\n  expect: {{{expect}}}"))
    assert found.keys() == {what}
    assert found[what][0] == expected
    assert found[what][1].startswith(actual)


async def test_every_failed_expectation_is_reported(run_step: RunStep) -> None:
    found = mismatches_of(
        await run_step("- request: GET /echo\n  expect: {status: 500, served_by: dfw-1, hops: 7}")
    )
    assert list(found) == ["status", "served_by", "hops"]


async def test_a_rejection_has_an_error_and_no_machine(run_step: RunStep, simulator: FakeSimulator) -> None:
    simulator.findings_by_error = {"PR04": ("stale-cookie", "another")}
    assert_passed(
        await run_step("""
            - request: GET /reject
              expect: {status: 502, error: PR04, served_by: none, body: "", findings: [stale-cookie]}
        """)
    )


async def test_an_empty_list_of_findings_means_none(run_step: RunStep, simulator: FakeSimulator) -> None:
    simulator.findings_by_error = {"PR04": ("stale-cookie",)}
    found = mismatches_of(await run_step("- request: GET /reject\n  expect: {findings: []}"))
    assert found == {"findings": ("none", "stale-cookie")}


@pytest.mark.parametrize(
    ("step", "echoed"),
    [
        ("{method: POST, path: /echo, body: hello}", {"method": "POST", "body": "hello"}),
        ("{method: put, url: /echo, json: {a: [1, null]}}", {"method": "PUT", "body": '{"a": [1, null]}'}),
        ("{method: POST, path: /echo, form: {a: b c}}", {"body": "a=b+c"}),
        ("{method: POST, path: /echo, body: {bytes: 70000}}", {"size": 70000}),
        ("{path: /echo, headers: {x-a: 0123, Host: chat.fly.dev}}", {"url": "http://chat.fly.dev/echo"}),
        ("http://chat.fly.dev/echo?y=1", {"url": "http://chat.fly.dev/echo?y=1"}),
    ],
)
async def test_a_request_is_sent_as_specified(
    run_step: RunStep, step: str, echoed: dict[str, object]
) -> None:
    assert_passed(
        await run_step(f"- request: {step}\n  expect: {{json: {echoed!r}}}".replace("None", "null"))
    )


async def test_digits_in_headers_are_not_changed(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - request: GET /echo
              headers: {x-a: 00712, x-b: 1.50, x-c: 12345678901234}
              expect: {json: {headers: {x-a: "00712", x-b: "1.50", x-c: "12345678901234"}}}
        """)
    )


async def test_redirects_are_not_followed_unless_asked(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - request: GET /redirect
              expect: {status: 302, headers: {location: /echo}}
            - request: {method: POST, path: /redirect, body: x, follow: true}
              expect: {status: 200, json: {method: GET, body: "", headers: {cookie: seen=redirect}}}
        """)
    )


async def test_a_redirect_out_of_the_simulator_is_not_followed(run_step: RunStep) -> None:
    assert_passed(
        await run_step(
            "- request: {path: /away, follow: true}\n  expect: {status: 302, headers: {location: https://example.com/}}"
        )
    )


async def test_a_redirect_loop_is_followed_up_to_a_limit_and_reported(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- request: {path: /round, follow: true}\n  expect: {status: 200}"))
    assert found["status"] == (
        "200",
        "302 (20 redirects followed, next one not followed: the limit is 20 redirects, as in browsers)",
    )


async def test_followed_redirects_are_reported_with_a_wrong_status(run_step: RunStep) -> None:
    found = mismatches_of(
        await run_step("- request: {path: /redirect, follow: true}\n  expect: {status: 404}")
    )
    assert found["status"] == ("404", "200 (1 redirect followed)")


async def test_a_redirect_that_was_not_followed_is_reported_with_any_mismatch(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- request: {path: /away, follow: true}\n  expect: {body: hello}"))
    assert found["redirects"][1] == ("not followed: https://example.com/ is on another host")


async def test_a_missing_response_fails_the_step(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- request: GET /slow\n  timeout: 300ms\n  expect: {status: 200}"))
    assert found["response"] == ("a response", "no response within 0.3 s")


async def test_a_missing_response_can_be_expected(run_step: RunStep) -> None:
    assert_passed(await run_step("- request: GET /slow\n  timeout: 300ms\n  expect: {error: timeout}"))


async def test_expectations_on_a_missing_response_fail(run_step: RunStep) -> None:
    found = mismatches_of(
        await run_step(
            "- request: GET /slow\n  timeout: 300ms\n  expect: {error: timeout, body: {not_contains: x}}"
        )
    )
    assert found == {"body": ("a response", "no response within 0.3 s")}


async def test_a_failed_connection_is_a_disconnect(run_step: RunStep, simulator: FakeSimulator) -> None:
    simulator.edges["ams"] = "http://127.0.0.1:1"
    assert_passed(await run_step("- request: GET /echo\n  edge: ams\n  expect: {error: disconnect}"))


async def test_steps_wait_for_log_lines_and_check_their_order(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - request: GET /later?machine=dfw-1&line=second
              expect: {logs: [{machine: dfw-1, equals: second}]}
            - parallel:
                - request: GET /log?machine=ams-1&line=one
                - request: GET /later?machine=dfw-1&line=two
            - request: GET /later?machine=dfw-1&line=three
              expect: {logs: [{matches: ^th}]}
        """)
    )


async def test_log_lines_of_earlier_steps_do_not_count(run_step: RunStep) -> None:
    found = mismatches_of(
        await run_step("""
            - request: GET /log?machine=ams-1&line=early
            - request: GET /echo
              expect: {logs: [{machine: ams-1, contains: early}]}
        """)
    )
    assert "logs" in found


async def test_cookies_are_stored_and_withheld_ones_are_reported(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - request: GET /set?cookie=a=1;%20Path=/&cookie=b=2;%20Path=/elsewhere&cookie=c=3;%20Secure;%20Path=/
              expect: {set_cookie: {a: {equals: 1, path: /}, c: {secure: true}}}
            - request: GET /echo
              expect:
                json: {headers: {cookie: a=1}}
                cookies_sent: [a]
                cookies_withheld:
                  b: "Path=/elsewhere: the path is /echo"
                  c: {contains: plain http}
        """)
    )


async def test_cookies_expire_on_the_simulated_clock(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - request: GET /set?cookie=a=1;%20Path=/;%20Max-Age=60
            - advance: 59s
            - request: GET /echo
              expect: {cookies_sent: [a]}
            - advance: 2s
            - request: GET /echo
              expect: {cookies_sent: [], cookies_withheld: {a: {contains: expired}}}
        """)
    )


async def test_a_cookie_header_of_the_step_replaces_the_cookie_jar(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - client: {name: anna, cookies: {a: 1}, headers: {x-who: anna}}
            - request: GET /echo
              expect: {json: {headers: {cookie: a=1, x-who: anna}}}
            - request: GET /echo
              headers: {Cookie: b=2, X-Who: me}
              expect: {json: {headers: {cookie: b=2, x-who: me}}}
        """)
    )


async def test_each_client_has_a_jar_and_an_edge(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - client: anna
            - request: GET /set?cookie=fly-machine-id={dfw-1.id};%20Path=/
            - request: GET /echo
              expect: {path: [ams-1, dfw-1]}
            - client: bert
              edge: dfw
            - request: GET /echo
              expect: {path: [dfw-1], cookies_sent: []}
            - request: GET /echo
              client: anna
              edge: dfw
              expect: {path: [dfw-1], cookies_sent: [fly-machine-id]}
            - client: {name: anna, fresh: true}
            - request: GET /echo
              expect: {path: [ams-1], cookies_sent: []}
        """)
    )


async def test_captured_values_can_be_used_in_later_steps(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - request: GET /echo?token=t-1&instance={dfw-1.id}
              capture:
                token: {json_path: query.token}
                kind: {header: content-type}
                word: {body: '"method": ?"(\\w+)"'}
                machine: {served_by: true}
            - request: GET /echo?a={token}&b={word}&c={machine}&d={{token}}
              expect:
                json: {query: {a: t-1, b: GET, c: "{dfw-1.id}", d: "{{token}}"}}
                headers: {content-type: "{kind}"}
        """)
    )


async def test_a_failed_capture_fails_the_step(run_step: RunStep) -> None:
    result = await run_step("- request: GET /echo\n  capture: {a: {cookie: session}}")
    assert problem_of(result) == "cannot capture a: the response has no match for cookie: session"


async def test_a_direct_request_bypasses_the_proxy(run_step: RunStep, simulator: FakeSimulator) -> None:
    port = int(simulator.edges["dfw"].rpartition(":")[2])
    simulator._change(DFW.id, port=port)
    assert_passed(
        await run_step(
            "- request: GET /echo\n  direct: dfw-1\n  expect: {json: {url: 'http://{dfw-1.address}/echo'}}"
        )
    )


async def test_a_request_connects_to_the_given_public_port(
    run_step: RunStep, simulator: FakeSimulator
) -> None:
    simulator.extra_ports["ams"] = {9090: simulator.edges["dfw"]}
    assert_passed(
        await run_step("""
            - request: GET /echo
              port: 9090
              expect: {json: {url: "{edge.dfw}/echo"}}
            - request: GET /echo
              port: 80
              expect: {json: {url: "{edge.ams}/echo"}}
            - websocket: /ws
              port: 9090
              expect: {served_by: dfw-1}
        """)
    )


async def test_an_unknown_public_port_is_an_error_that_lists_the_known_ones(
    run_step: RunStep, simulator: FakeSimulator
) -> None:
    simulator.extra_ports["ams"] = {9090: simulator.edges["dfw"]}
    result = await run_step("- request: GET /echo\n  port: 9091")
    assert problem_of(result).startswith("edge ams has no public port 9091")
    assert "80, 443, 9090" in problem_of(result)
    assert result.failure is not None
    assert result.failure.exit_status == 2


async def test_an_invalid_header_is_an_error_in_the_file(run_step: RunStep) -> None:
    result = await run_step('- request: GET /echo\n  headers: {x: "a\\nb"}')
    assert problem_of(result).startswith("cannot send GET /echo: ")
    assert result.failure is not None
    assert result.failure.exit_status == 2
