"""Findings for the rows of the failure gallery that a single exchange can show."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.diagnosis import FINDINGS, Finding, diagnose
from simulator.diagnosis.rules import RULES
from simulator.results import Fix
from simulator.routing import App, Failure, Fleet, Outcome, RoutingOptions, Trace
from simulator.routing.service import Service
from tests.routing.build import (
    AMS_1,
    CHAT_1,
    DEMO,
    DFW_1,
    DFW_2,
    Caller,
    autostart_fleet,
    fleet,
    machine,
    request,
    stopped,
    two_apps,
)

GONE = "00000000000000"
TO_AMS_1, TO_DFW_1 = f"instance={AMS_1.id}", f"instance={DFW_1.id}"


def replayed(*directives: str, machines: Fleet = DEMO, **request_changes: str) -> Caller:
    """An exchange whose machines respond with these directives, one after the other."""
    headers = {"Cookie": cookie} if (cookie := request_changes.pop("cookie", "")) else {}
    caller = Caller(machines, request=request(headers, **request_changes))
    for directive in directives:
        caller.replay(directive)
    return caller


def found(caller: Caller, machines: Fleet | None = None) -> list[str]:
    return [finding.id for finding in diagnose(caller.trace, machines or caller.router.fleet)]


def the_finding(caller: Caller) -> Finding:
    (finding,) = diagnose(caller.trace, caller.router.fleet)
    assert finding.request_id == caller.trace.request_id
    return finding


def test_a_successful_exchange_has_no_finding() -> None:
    plain, sticky = replayed(), replayed(TO_DFW_1, cookie=f"fly-machine-id={DFW_1.id}")
    plain.respond()
    sticky.respond()
    assert found(plain) == found(sticky) == []


# Replay loops.


def test_a_machine_that_replays_to_itself() -> None:
    """Gallery 1, F-1.39"""
    finding = the_finding(replayed(*[TO_AMS_1] * 11))
    assert finding.id == "self-replay"
    assert finding.cause == f"ams-1 responded with fly-replay: {TO_AMS_1}, which led back to ams-1"
    assert "FLY_MACHINE_ID" in finding.fix.text


def test_one_self_replay_is_a_finding_even_if_the_next_response_is_served() -> None:
    caller = replayed("region=ams")
    caller.respond()
    assert found(caller) == ["self-replay"]


def test_a_fallback_to_the_machine_that_replayed_is_not_a_self_replay() -> None:
    """F-1.52"""
    caller = replayed(f"instance={GONE};timeout=0s;fallback=force_self")
    assert caller.trace.path == ("ams-1", "ams-1")
    caller.respond()
    assert found(caller) == []


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ([TO_DFW_1, TO_AMS_1], f"ams-1 ({TO_DFW_1}) ⇄ dfw-1 ({TO_AMS_1})"),
        (
            [TO_DFW_1, f"instance={DFW_2.id}", TO_AMS_1],
            f"ams-1 ({TO_DFW_1}) → dfw-1 (instance={DFW_2.id}) → dfw-2 ({TO_AMS_1}) → ams-1",
        ),
    ],
)
def test_machines_that_replay_a_request_in_a_cycle(loop: list[str], expected: str) -> None:
    """Gallery 2, F-1.38"""
    finding = the_finding(replayed(*(loop * 11)[:11]))
    assert finding.id == "replay-loop"
    assert (
        finding.cause
        == f"the request was replayed in a cycle: {expected}; the proxy gave up after 11 deliveries"
    )
    assert "fly-replay-src" in finding.fix.text


def test_a_cycle_between_two_apps_names_the_apps() -> None:
    """Gallery 3: both have a machine ams-1."""
    caller = replayed(*["app=chat", "app=streams"] * 5, "app=chat", machines=two_apps())
    assert "cycle: streams/ams-1 (app=chat) ⇄ chat/ams-1 (app=streams);" in the_finding(caller).cause


def test_a_cycle_too_long_to_occur_twice_is_named() -> None:
    """F-1.38: eleven deliveries are fewer than two rounds of six."""
    six = [machine(number, "ams") for number in range(1, 7)]
    caller = Caller(fleet(*six))
    for number in range(2, 13):
        caller.replay(f"instance={six[(number - 1) % 6].id}")
    cause = the_finding(caller).cause
    assert f"cycle: ams-1 (instance={six[1].id}) → ams-2 (" in cause
    assert f"→ ams-6 (instance={six[0].id}) → ams-1; the proxy" in cause


def hops_of(*stops: tuple[str, str]) -> Trace:
    """A trace of these deliveries, each to a machine that responded with that directive."""
    caller = replayed(*[TO_DFW_1, TO_AMS_1] * 6)
    hop = caller.trace.hops[0]
    hops = tuple(replace(hop, machine_id=name, machine=name, replay=replay) for name, replay in stops)
    return replace(caller.trace, error="PA02", hops=hops)


def cause_of(*stations: tuple[str, str]) -> str:
    (finding,) = diagnose(hops_of(*stations), DEMO)
    return finding.cause.removeprefix("the request was replayed in a cycle: ").partition(
        "; the proxy gave up"
    )[0]


AMS, ONE, TWO = ("ams-1", "region=dfw"), ("dfw-1", "region=ams"), ("dfw-2", "region=ams")


def test_a_cycle_through_a_region_names_its_machines_as_one_stop() -> None:
    assert cause_of(AMS, ONE, AMS, TWO, AMS, TWO, AMS, ONE, AMS, ONE, AMS) == (
        "ams-1 (region=dfw) ⇄ dfw-1/dfw-2 (region=ams)"
    )


def test_machines_that_one_stop_leads_to_are_one_stop() -> None:
    other = ("ams-2", "region=dfw")
    assert cause_of(AMS, ONE, other, TWO, AMS, TWO, other, ONE, AMS, ONE, AMS) == (
        "ams-1/ams-2 (region=dfw) ⇄ dfw-1/dfw-2 (region=ams)"
    )


def test_machines_that_replay_to_any_region_are_one_stop() -> None:
    a, b, c = (("ams-1", "region=any"), ("dfw-1", "region=any"), ("dfw-2", "region=any"))
    assert cause_of(a, b, c, a, c, b, a, b, a, c, b) == "ams-1/dfw-1/dfw-2 (region=any), among themselves"


def test_a_stop_with_two_directives_is_named_with_both() -> None:
    again = ("ams-1", "region=dfw;state=2")
    assert cause_of(AMS, ONE, again, ONE, AMS, ONE, again, ONE, AMS, ONE, again) == (
        "ams-1 (region=dfw or region=dfw;state=2) ⇄ dfw-1 (region=ams)"
    )


def test_a_request_that_no_machine_got_twice_is_described_hop_by_hop() -> None:
    stops = [(f"ams-{number}", f"instance={number + 1}") for number in range(11)]
    assert cause_of(*stops) == " → ".join(f"ams-{number}" for number in range(11))


def test_findings_lists_exactly_the_findings_of_the_rules() -> None:
    """docs/findings.md and expectations in scenarios depend on the list."""
    modules = [Path(inspect.getsourcefile(rule) or "").read_text() for rule in RULES]
    written = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', "".join(modules)))
    assert written == set(FINDINGS)


# Replays without a target.


@pytest.mark.parametrize(
    ("machines", "state"),
    [
        (fleet(AMS_1), "there is no such machine"),
        (fleet(AMS_1, stopped(DFW_1)), "dfw-1 is stopped"),
        (fleet(AMS_1, replace(DFW_1, cordoned=True)), "dfw-1 is cordoned"),
    ],
)
def test_a_cookie_that_outlived_its_machine(machines: Fleet, state: str) -> None:
    """F-12.1, Gallery 4, F-1.64, F-1.65"""
    finding = the_finding(replayed(TO_DFW_1, machines=machines, cookie=f"fly-machine-id={DFW_1.id}"))
    assert finding.id == "stale-cookie"
    assert finding.cause == (
        f"ams-1 replayed to {TO_DFW_1}, but {state}; the client's cookies (fly-machine-id) still refer to it"
    )
    assert finding.fix.text.startswith("use prefer_instance")


def test_a_cookie_that_names_an_unhealthy_machine() -> None:
    """F-12.1, Gallery 4: the cookie is correct, and the machine exists."""
    machines = fleet(AMS_1, replace(DFW_1, healthy=False))
    finding = the_finding(replayed(TO_DFW_1, machines=machines, cookie=f"fly-machine-id={DFW_1.id}"))
    assert finding.id == "stale-cookie"
    assert finding.cause == (
        f"ams-1 replayed to {TO_DFW_1}, but dfw-1 is failing its health checks; "
        "the client's cookies (fly-machine-id) refer to it"
    )
    assert finding.fix.text.startswith("find out why its health check fails; use prefer_instance")


@pytest.mark.parametrize(
    "changes", [{}, {"target": f"/?{TO_DFW_1}", "cookie": "theme=dark"}], ids=["no cookie", "id in the URL"]
)
def test_a_lost_target_that_no_cookie_names(changes: dict[str, str]) -> None:
    """Gallery 4 and 5"""
    assert found(replayed(TO_DFW_1, machines=fleet(AMS_1), **changes)) == ["lost-target"]


def test_a_target_that_exists_again_is_not_lost() -> None:
    assert found(replayed(TO_DFW_1, machines=fleet(AMS_1)), DEMO) == []


def test_a_machine_of_an_app_that_the_directive_does_not_name() -> None:
    """F-1.16, K-10"""
    finding = the_finding(replayed(f"app=chat;{TO_DFW_1}", machines=two_apps()))
    assert finding.id == "foreign-instance"
    assert finding.cause == f"ams-1 replayed to {TO_DFW_1} in app chat, but that is dfw-1 of streams"
    assert f"app=streams;{TO_DFW_1}" in finding.fix.text


def test_a_machine_of_another_app_without_an_app_in_the_directive() -> None:
    """F-1.16"""
    caller = replayed(f"instance={CHAT_1.id}", machines=two_apps())
    assert "app=chat" in the_finding(caller).fix.text


@pytest.mark.parametrize(
    ("directive", "there"),
    [("region=nrt", "ams, dfw"), ('region="lhr,apac"', "ams, dfw"), ("region=xyz", "ams, dfw")],
)
def test_regions_without_a_machine(directive: str, there: str) -> None:
    """Gallery 8, F-1.20, F-1.21, K-30"""
    finding = the_finding(replayed(directive))
    assert finding.id == "empty-region"
    assert finding.cause.endswith(f"but the machines of streams that could respond are in: {there}")
    assert "any" in finding.fix.text


def test_regions_of_an_app_without_any_machine() -> None:
    """F-1.62"""
    machines = fleet(AMS_1, apps=[App("streams"), App("empty")])
    assert the_finding(replayed("app=empty;region=ams", machines=machines)).cause.endswith("in: no region")


def test_a_machine_that_elsewhere_excludes_is_not_available() -> None:
    """F-1.6, F-1.66"""
    caller = replayed("elsewhere=true;region=ams")
    assert the_finding(caller).cause.endswith("the machines of streams that could respond are in: dfw")


def test_an_unquoted_list_that_the_proxy_accepted_is_parsed_the_same_way() -> None:
    """K-8"""
    caller = Caller(options=RoutingOptions(lenient_region_list=True))
    caller.replay("region=nrt,sin")
    assert found(caller) == ["empty-region"]


@pytest.mark.parametrize("directive", [TO_DFW_1, "region=dfw", 'region="nrt,any";elsewhere=true'])
def test_a_target_that_was_not_reached_is_not_lost(directive: str) -> None:
    """F-6.53: it exists and refuses connections."""
    caller = replayed(directive)
    caller.fail_until_done()
    assert found(caller) == ["refused-connection"]


def test_a_target_that_is_full_is_not_lost() -> None:
    """F-5.6, K-4"""
    caller = Caller(autostart_fleet(AMS_1, DFW_1, hard_limit=1))
    caller.router.load.take(DFW_1.id, Service())
    caller.replay("region=dfw")
    caller.wait(10.0)
    assert (caller.code, found(caller)) == ("PR04", [])


# Replays in a replay body.


@pytest.mark.parametrize(
    ("body", "finding", "expected"),
    [
        (
            {"instance": GONE},
            "lost-target",
            f"ams-1 replayed to instance={GONE}, but there is no such machine",
        ),
        ({"instance": CHAT_1.id}, "foreign-instance", "but that is ams-1 of chat"),
        ({"region": "nrt,sin", "timeout": "1s"}, "empty-region", "ams-1 replayed to region=nrt,sin"),
        (
            {"app": "nobody"},
            "unknown-app",
            'responded with the replay body {"app": "nobody"}; the apps here are',
        ),
        ({"app": 7}, "broken-directive", """the replay body '{"app": 7}', which Fly cannot parse"""),
        ("[]", "broken-directive", "the replay body is a list, expected an object"),
        (None, "broken-directive", "ams-1 responded with an incomplete replay body"),
    ],
)
def test_a_wrong_replay_body_has_the_same_findings_as_a_header(
    body: object, finding: str, expected: str
) -> None:
    """F-1.75, F-1.84"""
    caller = Caller(two_apps())
    caller.replay_body(body)
    assert [each.id for each in diagnose(caller.trace, caller.router.fleet)] == [finding]
    assert expected in the_finding(caller).cause


def test_a_machine_that_replays_to_itself_with_a_replay_body() -> None:
    """Gallery 1, F-1.75"""
    caller = Caller()
    caller.replay_body({"region": "ams"})
    caller.respond()
    assert (
        'ams-1 responded with the replay body {"region": "ams"}, which led back to'
        in the_finding(caller).cause
    )


def test_a_request_that_was_never_replayed_has_no_lost_target() -> None:
    assert found(Caller(fleet(stopped(AMS_1)))) == []


def test_a_directive_accepted_by_another_version_that_this_one_cannot_parse() -> None:
    trace = replayed(TO_DFW_1, machines=fleet(AMS_1)).trace
    unparsable = replace(trace, hops=(replace(trace.hops[0], replay="leader"),))
    assert diagnose(unparsable, DEMO) == ()


# Rejected replays.


@pytest.mark.parametrize("directive", ["leader", "region=iad,ord", "timeout=1500", ""])
def test_a_directive_that_cannot_be_parsed(directive: str) -> None:
    """F-1.17, K-7, K-8"""
    finding = the_finding(replayed(directive))
    assert finding.id == "broken-directive"
    assert f"fly-replay: {directive!r}, which Fly cannot parse" in finding.cause


def test_a_fallback_that_is_replayed_again() -> None:
    """Gallery 30, F-1.56, K-18: the directive is valid."""
    finding = the_finding(replayed(f"instance={GONE};timeout=0s;fallback=force_self", TO_DFW_1))
    assert finding.id == "replayed-fallback"
    assert f"ams-1 responded with fly-replay: {TO_DFW_1} again" in finding.cause
    assert "fly-replay-failed" in finding.fix.text


@pytest.mark.parametrize("directive", ["app=nobody", "app=X,state=K"])
def test_an_app_that_does_not_exist(directive: str) -> None:
    """F-1.12, F-1.63"""
    finding = the_finding(replayed(directive, machines=two_apps()))
    assert finding.id == "unknown-app"
    assert finding.cause == f"ams-1 responded with fly-replay: {directive}; the apps here are streams, chat"


def test_a_body_that_is_too_large_for_a_replay() -> None:
    """Gallery 15, F-1.32"""
    caller = Caller(request=request(method="POST"))
    caller.replay(TO_DFW_1, body_kept=False)
    finding = the_finding(caller)
    assert finding.id == "large-body"
    assert finding.cause.startswith("ams-1 replayed a POST request with a body of more than 1 MB")


def test_a_body_that_is_too_large_for_a_retry() -> None:
    """F-5.46"""
    caller = Caller(request=request(method="PUT"))
    caller.fail(Failure.TIMED_OUT, body_kept=False)
    assert the_finding(caller).cause.startswith(
        "ams-1 could not be reached for a PUT request with a body of more than 1 MB"
    )


# Doubtful replays that may work.


def test_an_upgrade_that_the_replaying_app_negotiated() -> None:
    """Gallery 12, F-1.86"""
    caller = Caller()
    caller.replay(TO_DFW_1, 101)
    caller.respond(101)
    finding = the_finding(caller)
    assert finding.id == "negotiated-upgrade"
    assert finding.cause.startswith("ams-1 accepted the WebSocket (101)")


def test_an_upgrade_that_only_the_target_negotiated() -> None:
    """F-1.86"""
    caller = replayed(TO_DFW_1)
    caller.respond(101)
    assert found(caller) == []


@pytest.mark.parametrize(
    ("directive", "doubt"),
    [
        ("instance_id=m", "unknown field 'instance_id' is ignored"),
        ("region=ams;region=dfw", "field 'region' is given more than once: the last one counts"),
    ],
)
def test_a_directive_that_is_probably_not_what_was_meant(directive: str, doubt: str) -> None:
    """Gallery 9, K-9"""
    caller = replayed("region=dfw", directive)
    caller.respond()
    findings = {finding.id: finding for finding in diagnose(caller.trace, DEMO)}
    assert doubt in findings["doubtful-directive"].cause


# Machines without a valid response.


def test_a_machine_that_does_not_listen() -> None:
    """F-6.16"""
    once, often = Caller(), Caller(fleet(AMS_1))
    once.fail()
    once.respond()
    often.fail()
    often.fail()
    often.respond()
    assert "ams-1 refused 1 connection: [PC01] instance refused connection" in the_finding(once).cause
    # A later attempt succeeded: the hop has no failure.
    assert found(often) == []


def test_a_machine_that_never_listens() -> None:
    """F-6.16, F-6.53"""
    caller = Caller(fleet(AMS_1), options=RoutingOptions(attempts=2))
    caller.fail_until_done()
    finding = the_finding(caller)
    assert finding.id == "refused-connection"
    assert finding.cause.startswith("ams-1 refused 2 connections: [PC01]")


def test_an_injected_fault_is_fixed_by_healing_it() -> None:
    caller = Caller(fleet(AMS_1), options=RoutingOptions(attempts=1))
    caller.exchange.add_note("it was started for this request")
    caller.exchange.add_note("fault: ams-1 refuses the next delivery")
    caller.fail_until_done()
    assert the_finding(caller).fix.text == "heal the fault: ams-1 refuses the next delivery"


def test_a_timeout_is_not_a_refused_connection() -> None:
    """F-6.20"""
    caller = Caller()
    caller.fail(Failure.TIMED_OUT)
    caller.respond()
    assert found(caller) == []


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(Failure.CLOSED, "closed before message completed"), (Failure.UNREADABLE, "invalid HTTP")],
)
def test_a_machine_that_accepts_a_request_and_sends_no_response(failure: Failure, expected: str) -> None:
    """F-5.45, F-6.12"""
    caller = Caller()
    caller.fail(failure)
    finding = the_finding(caller)
    assert finding.id == "broken-answer"
    assert finding.cause.startswith("ams-1 received the request and sent no valid response: [PU02]")
    assert expected in finding.cause


def test_a_machine_that_closes_the_connection_in_the_middle_of_its_response() -> None:
    """F-6.15"""
    caller = Caller()
    caller.respond()
    caller.exchange.finish(caller.now, Outcome.BROKEN)
    assert the_finding(caller).cause == "ams-1 closed the connection in the middle of its response"


# All rules together.


def test_the_most_serious_finding_comes_first() -> None:
    caller = replayed(*[f"{TO_AMS_1};x=y"] * 11)
    assert found(caller) == ["self-replay", "doubtful-directive"]


def test_a_finding_is_rendered_as_cause_and_fix() -> None:
    finding = Finding("self-replay", "ams-1 replays to itself", Fix("compare first"), "id")
    assert str(finding) == "self-replay: ams-1 replays to itself\n  fix: compare first"


DIRECTIVES = [
    TO_AMS_1,
    TO_DFW_1,
    f"instance={GONE};timeout=0s;fallback=prefer_self",
    "region=nrt",
    "app=x",
    "leader",
]


@settings(max_examples=50)
@given(st.lists(st.sampled_from([*DIRECTIVES, *Failure]), min_size=1, max_size=11), st.integers(0, 2))
def test_every_failed_replay_has_a_finding(events: list[str | Failure], remaining: int) -> None:
    caller = Caller(fleet(AMS_1, DFW_1, DFW_2))
    for event in events:
        if caller.trace.outcome is Outcome.PENDING:
            caller.fail(event) if isinstance(event, Failure) else caller.replay(event)
    trace: Trace = caller.trace
    findings = diagnose(trace, fleet(*DEMO.machines[:remaining]))
    assert all(finding.cause and finding.fix.text for finding in findings)
    if trace.error in ("PA02", "PA03", "PA04", "PU02"):
        assert findings


# Evidence and fixes.


def test_a_finding_names_its_rules_the_hop_the_value_and_the_wrong_part_of_it() -> None:
    caller = replayed(f"state=x;instance={GONE}", cookie=f"fly-machine-id={GONE}")
    finding = the_finding(caller)
    assert finding.rules == ("F-1.2", "F-6.54")
    evidence = finding.evidence
    assert (evidence.hop, evidence.header, evidence.text) == (0, "fly-replay", f"state=x;instance={GONE}")
    assert (evidence.text or "")[evidence.start : evidence.end] == GONE
    assert finding.fix.before == f"fly-replay: state=x;instance={GONE}"
    assert finding.fix.after == f"fly-replay: state=x;prefer_instance={GONE}"
    assert str(finding).splitlines()[-2:] == [f"    - {finding.fix.before}", f"    + {finding.fix.after}"]


def test_a_replay_body_is_evidence_without_a_header_and_gets_no_corrected_value() -> None:
    caller = Caller(two_apps())
    caller.replay_body({"instance": GONE})
    finding = the_finding(caller)
    assert finding.evidence.header is None
    assert GONE in (finding.evidence.text or "")
    assert (finding.fix.before, finding.fix.after) == (None, None)


@pytest.mark.parametrize(
    ("directive", "machines", "after"),
    [
        ("region=nrt", DEMO, 'fly-replay: region="nrt,any"'),
        (f"app=chat;{TO_AMS_1}", two_apps(), f"fly-replay: app=streams;{TO_AMS_1}"),
    ],
)
def test_a_wrong_value_has_a_corrected_one(directive: str, machines: Fleet, after: str) -> None:
    finding = the_finding(replayed(directive, machines=machines))
    assert (finding.fix.before, finding.fix.after) == (f"fly-replay: {directive}", after)


def test_a_failed_delivery_is_evidence() -> None:
    caller = Caller()
    caller.fail(Failure.CLOSED)
    evidence = the_finding(caller).evidence
    assert (evidence.hop, evidence.header) == (0, None)
    assert (evidence.text or "").startswith("[PU02]")
