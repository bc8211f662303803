"""Exchange with replays: targets, headers, limits and errors."""

from __future__ import annotations

import pytest

from simulator.routing import App, Cause, Deliver, Failure, Outcome, Relay, RoutingOptions
from simulator.routing.options import MAX_REPLAYS
from tests.routing.build import (
    AMS_1,
    CHAT_1,
    DEMO,
    DFW_1,
    DFW_2,
    NOW,
    Caller,
    as_texts,
    fleet,
    request,
    response,
    stopped,
    two_apps,
)

TO_DFW_1 = f"instance={DFW_1.id}"
TO_AMS_1 = f"instance={AMS_1.id}"
SOURCE = "instance=d8dd626f379508;region=ams;t=1700000000000000"


def test_a_replay_sends_the_request_to_the_named_machine() -> None:
    """F-1.2, F-1.26"""
    caller = Caller()
    caller.replay(TO_DFW_1)
    assert caller.at == "dfw-1"
    assert isinstance(caller.respond(200), Relay)
    assert (caller.trace.path, caller.trace.served_by) == (("ams-1", "dfw-1"), "dfw-1")
    assert [hop.cause for hop in caller.trace.hops] == [Cause.ROUTED, Cause.REPLAY]
    assert [hop.replay for hop in caller.trace.hops] == [TO_DFW_1, None]


@pytest.mark.parametrize("status", [101, 200, 202, 204, 301, 302, 307, 400, 404, 409, 421, 503])
def test_the_status_of_a_replay_does_not_matter(status: int) -> None:
    """X-11, F-1.23, K-13, K-42"""
    caller = Caller()
    caller.respond(status, {"Fly-Replay": TO_DFW_1, "Location": "/elsewhere"})
    assert caller.at == "dfw-1"
    assert caller.trace.hops[0].status == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_a_request_of_any_method_is_replayed(method: str) -> None:
    """F-1.27"""
    caller = Caller(request=request(method=method))
    caller.replay(TO_DFW_1)
    assert caller.at == "dfw-1"


def test_a_replay_after_an_accepted_upgrade_has_a_warning() -> None:
    """F-1.86"""
    negotiated, refused = Caller(), Caller()
    negotiated.replay(TO_DFW_1, 101)
    refused.replay(TO_DFW_1, 307)
    assert negotiated.trace.warnings == (
        "the app accepted the upgrade and replayed: Fly asks apps not to do that (F-1.86)",
    )
    assert refused.trace.warnings == ()
    negotiated.respond(200)
    assert not negotiated.trace.websocket


def test_the_client_sees_nothing_of_the_replaying_response() -> None:
    """F-12.18, F-1.24, F-1.25, K-20"""
    caller = Caller()
    caller.respond(307, {"fly-replay": TO_DFW_1, "set-cookie": "lost=1", "x-app": "ams"})
    relay = caller.respond(200, {"x-app": "dfw"})
    assert isinstance(relay, Relay)
    answered = as_texts(relay.fields)
    assert answered["x-app"] == "dfw"
    assert "set-cookie" not in answered
    assert answered["via"] == "1.1 fly.io, 1.1 fly.io"  # F-1.100


# Headers of the target.


def test_the_target_gets_the_original_request_and_fly_replay_src() -> None:
    """F-1.31, F-1.41, F-1.42, F-1.47, F-1.48, F-4.19, K-38"""
    caller = Caller(request=request({"Cookie": "a=1"}, method="POST"))
    first = caller.sent
    caller.replay(TO_DFW_1)
    assert caller.sent == first | {"fly-replay-src": SOURCE, "fly-replay-cache-status": "miss"}
    assert caller.trace.hops[1].sent == (("fly-replay-src", SOURCE), ("fly-replay-cache-status", "miss"))


def test_state_reaches_the_target() -> None:
    """F-1.5, F-1.41"""
    caller = Caller()
    caller.replay(f"{TO_DFW_1};state=captured_write")
    assert caller.sent["fly-replay-src"] == f"{SOURCE};state=captured_write"


def test_fly_replay_src_names_the_last_machine_that_replayed() -> None:
    """F-1.44, K-16"""
    caller = Caller()
    caller.replay(f"{TO_DFW_1};state=one")
    caller.replay(f"instance={DFW_2.id}", after=1.5)
    assert caller.sent["fly-replay-src"] == f"instance={DFW_1.id};region=dfw;t=1700000001500000"


@pytest.mark.parametrize(("strip", "seen"), [(True, None), (False, "instance=forged")])
def test_a_forged_fly_replay_src_is_stripped_by_default(strip: bool, seen: str | None) -> None:
    """F-1.45, K-15 (gallery 27)"""
    options = RoutingOptions(strip_forged_headers=strip)
    caller = Caller(request=request({"Fly-Replay-Src": "instance=forged"}), options=options)
    assert caller.sent.get("fly-replay-src") == seen
    caller.replay(TO_DFW_1)
    assert caller.sent["fly-replay-src"] == SOURCE


# Targets.


@pytest.mark.parametrize(
    ("directive", "machine"),
    [
        ("region=dfw", "dfw-1"),
        ("region=us", "dfw-1"),
        ('region="nrt,dfw"', "dfw-1"),
        ('region="nrt,any"', "ams-1"),
        ("app=streams;region=dfw", "dfw-1"),
        ("elsewhere=true", "dfw-1"),
        (f"prefer_instance={DFW_2.id}", "dfw-2"),
        (f"instance={DFW_2.id};region=dfw", "dfw-2"),
        ("state=only", "ams-1"),
        ("instance_id=unknown-field", "ams-1"),
    ],
)
def test_a_directive_selects_a_machine(directive: str, machine: str) -> None:
    """F-1.1 to F-1.6, F-1.20, F-1.66; an unknown field is ignored (K-9), so any machine matches (gallery 9)"""
    caller = Caller()
    caller.replay(directive)
    assert caller.at == machine


@pytest.mark.parametrize(
    "directive",
    [
        "instance=00000000000000",  # F-1.64
        "region=nrt",  # F-1.21
        'region="lhr,apac"',  # F-1.20
        "region=xyz",  # F-1.22, K-30
        f"instance={DFW_1.id};region=ams",
        "app=chat;region=dfw",
        f"app=chat;{TO_DFW_1}",  # F-1.16, K-10
    ],
)
def test_without_a_matching_machine_the_replay_fails_after_the_error_time(directive: str) -> None:
    """F-10.4, F-12.14, F-1.51, F-1.99, F-6.2, K-3, K-6 (gallery 4)"""
    caller = Caller(two_apps())
    caller.replay(directive, after=1.0)
    assert (caller.code, caller.rejection.status) == ("PR04", 502)
    assert caller.elapsed == pytest.approx(1.0 + 7.5)
    assert caller.trace.answered_at == caller.now
    assert (caller.rejection.log_app, caller.rejection.log_machine_id, caller.rejection.log_region) == (
        "streams",
        AMS_1.id,
        "ams",
    )


def test_an_instance_of_another_app_has_a_warning() -> None:
    """F-1.16, K-10"""
    caller = Caller(two_apps())
    caller.replay(f"app=chat;{TO_DFW_1}")
    assert caller.trace.warnings == (
        f"instance={DFW_1.id} is a machine of app streams, not of chat: no machine can match",
    )
    right = Caller(two_apps())
    right.replay(f"app=chat;instance={CHAT_1.id}")
    assert right.trace.warnings == ()


def test_the_error_time_is_an_option_for_replays_only() -> None:
    """K-6: 0 in unit tests"""
    options = RoutingOptions(replay_error_seconds=0.0)
    gone = Caller(options=options)
    gone.replay("instance=00000000000000")
    assert gone.rejection.wait_seconds == 0.0
    there = Caller(options=options)
    there.fail()
    assert there.at == "dfw-1"
    there.replay(f"instance={DFW_2.id}")
    assert isinstance(there.decision, Deliver)
    assert there.decision.connect_seconds > 0
    there.fail()
    assert there.code == "PR03"


def test_elsewhere_excludes_its_machine_from_the_next_hop_only() -> None:
    """F-1.6, K-32"""
    caller = Caller()
    caller.replay("elsewhere=true")
    caller.replay("region=ams")
    assert caller.at == "ams-1"


def test_elsewhere_applies_to_the_retries_of_its_hop() -> None:
    """F-1.6, F-5.41"""
    caller = Caller()
    caller.replay("elsewhere=true")
    caller.fail()
    caller.fail()
    assert caller.trace.path == ("ams-1", "dfw-1", "dfw-2", "dfw-1")


def test_elsewhere_with_one_machine_has_no_candidate() -> None:
    """F-1.66 (gallery 28)"""
    caller = Caller(fleet(AMS_1))
    caller.replay("elsewhere=true")
    assert caller.code == "PR04"


# Preferred instance.


def test_an_available_preferred_instance_is_not_reported() -> None:
    """F-1.46"""
    caller = Caller()
    caller.replay(f"prefer_instance={DFW_1.id}")
    assert "fly-preferred-instance-unavailable" not in caller.sent


@pytest.mark.parametrize("rest", ["", ";region=dfw", ";app=streams"])
def test_an_unavailable_preferred_instance_is_reported_to_the_target(rest: str) -> None:
    """F-1.46 (gallery 29)"""
    caller = Caller(fleet(AMS_1, stopped(DFW_1), DFW_2))
    caller.replay(f"prefer_instance={DFW_1.id}{rest}")
    assert caller.at == ("dfw-2" if "region" in rest else "ams-1")
    assert caller.sent["fly-preferred-instance-unavailable"] == DFW_1.id


def test_a_preferred_instance_that_refuses_is_reported_until_it_is_tried_again() -> None:
    """F-1.46: the machine exists but refuses"""
    caller = Caller(fleet(AMS_1, DFW_1))
    caller.replay(f"prefer_instance={DFW_1.id}")
    caller.fail()
    assert (caller.at, caller.sent["fly-preferred-instance-unavailable"]) == ("ams-1", DFW_1.id)
    caller.fail()
    assert caller.at == "dfw-1"
    assert "fly-preferred-instance-unavailable" not in caller.sent


def test_the_next_replay_forgets_an_unavailable_preference() -> None:
    caller = Caller()
    caller.replay("prefer_instance=00000000000000")
    assert "fly-preferred-instance-unavailable" in caller.sent
    caller.replay(TO_DFW_1)
    assert "fly-preferred-instance-unavailable" not in caller.sent


# Limit of replays.


def test_ten_replays_are_allowed_and_the_eleventh_is_pa02() -> None:
    """F-10.2, F-12.3, F-1.38, F-1.39, F-6.45, K-2 (gallery 1)"""
    caller = Caller()
    for _ in range(MAX_REPLAYS):
        assert isinstance(caller.replay(TO_AMS_1), Deliver)
    caller.replay(TO_AMS_1)
    assert (caller.code, caller.rejection.status, caller.rejection.wait_seconds) == ("PA02", 502, 0.0)
    assert caller.trace.path == ("ams-1",) * 11
    assert all(hop.replay == TO_AMS_1 for hop in caller.trace.hops)


def test_a_response_after_ten_replays_is_relayed() -> None:
    """F-1.38"""
    caller = Caller()
    for number in range(MAX_REPLAYS):
        caller.replay(TO_AMS_1 if number % 2 else TO_DFW_1)
    assert isinstance(caller.respond(), Relay)


def test_retries_do_not_count_as_replays() -> None:
    """F-1.38"""
    caller = Caller()
    for _ in range(MAX_REPLAYS):
        caller.replay("region=dfw")
        caller.fail()
    assert isinstance(caller.respond(), Relay)
    assert len(caller.trace.hops) == 1 + 2 * MAX_REPLAYS


# Invalid replays.


@pytest.mark.parametrize("status", [502, 500])
def test_a_directive_that_cannot_be_parsed_is_pa03(status: int) -> None:
    """F-1.17, F-6.46, K-2"""
    caller = Caller(options=RoutingOptions(replay_error_status=status))
    caller.replay("leader")
    assert (caller.code, caller.rejection.status, caller.rejection.wait_seconds) == ("PA03", status, 0.0)
    assert "'leader' is not key=value" in caller.rejection.error.message
    assert caller.rejection.log_machine_id == AMS_1.id


def test_an_empty_fly_replay_header_is_pa03() -> None:
    """F-1.17"""
    caller = Caller()
    caller.replay("")
    assert caller.code == "PA03"


@pytest.mark.parametrize(("lenient", "is_replayed"), [(True, True), (False, False)])
def test_accepting_a_region_list_without_quotes_is_configurable(lenient: bool, is_replayed: bool) -> None:
    """F-1.10, K-8"""
    caller = Caller(options=RoutingOptions(lenient_region_list=lenient))
    assert isinstance(caller.replay("region=nrt,dfw"), Deliver) is is_replayed


def test_a_request_with_a_body_past_the_limit_cannot_be_replayed() -> None:
    """X-1, F-1.35, F-10.1, F-12.6, F-1.32, F-6.44, K-1, K-19 (gallery 15)"""
    caller = Caller()
    caller.replay(f"{TO_DFW_1};fallback=force_self", body_kept=False)
    assert (caller.code, caller.rejection.status) == ("PA01", 502)


def test_a_body_past_the_limit_is_relayed_without_a_replay() -> None:
    assert isinstance(Caller().respond(200, body_kept=False), Relay)


def test_a_warning_is_in_the_trace_once() -> None:
    """K-9"""
    caller = Caller()
    caller.replay("instance_id=a")
    caller.replay("instance_id=a")
    assert caller.trace.warnings == ("unknown field 'instance_id' is ignored",)


# Other apps.


def test_a_replay_may_go_to_another_app_of_the_same_organization_and_network() -> None:
    """F-1.4, F-1.68"""
    caller = Caller(two_apps())
    caller.replay("app=chat")
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.machine == CHAT_1


def test_without_app_a_replay_stays_in_the_app_of_its_machine() -> None:
    """F-1.1, F-1.4"""
    caller = Caller(two_apps())
    caller.replay("app=chat")
    caller.replay("region=ams")
    assert caller.trace.hops[2].app == "chat"


@pytest.mark.parametrize(
    ("directive", "chat", "code", "text"),
    [
        ("app=nobody", {}, "PA04", "to target app 'nobody', which we cannot find"),  # F-1.63
        ("app=X,state=K", {}, "PA04", "to target app 'X,state=K', which we cannot find"),  # F-1.12
        ("app=chat", {"org": "other"}, "PA05", "but it doesn't have permission to do so"),  # F-1.68, F-1.72
        (
            "app=chat",
            {"network": "other"},
            "PA05",
            "but cross-network replays are not allowed",
        ),  # F-1.68, F-1.70
        ("app=chat", {"org": "o", "network": "n"}, "PA05", "but it doesn't have permission to do so"),
    ],
)
def test_a_refused_target_app_is_an_error_in_the_log_of_the_source(
    directive: str, chat: dict[str, str], code: str, text: str
) -> None:
    """F-6.2, F-6.47, F-6.48, K-2; no fallback: K-19 (gallery 31)"""
    caller = Caller(two_apps(**chat))
    caller.replay(f"{directive};fallback=force_self")
    assert (caller.code, caller.rejection.status) == (code, 502)
    assert caller.rejection.error.message.startswith(
        "app 'streams' used 'fly-replay' response header to target app"
    )
    assert caller.rejection.error.message.endswith(text)
    assert (caller.rejection.log_app, caller.rejection.log_machine_id) == ("streams", AMS_1.id)


@pytest.mark.parametrize(
    ("directive", "chat", "seconds"),
    [
        ("app=nobody", {}, 7.5),
        ("app=nobody;timeout=2s", {}, 2.0),
        ("app=chat", {"org": "other"}, 0.0),
        ("app=chat", {"network": "other"}, 0.0),
    ],
)
def test_only_an_unknown_app_takes_the_error_time(
    directive: str, chat: dict[str, str], seconds: float
) -> None:
    """F-12.8, F-1.51, F-1.63; F-1.70 and F-1.72 mention no delay"""
    caller = Caller(two_apps(**chat))
    caller.replay(directive)
    assert caller.rejection.wait_seconds == seconds


def test_an_app_without_machines_has_no_candidate() -> None:
    """F-1.62"""
    caller = Caller(fleet(AMS_1, apps=[App("streams"), App("empty")]))
    caller.replay("app=empty")
    assert caller.code == "PR04"


# The target cannot be reached.


def test_another_matching_machine_is_tried_if_the_target_refuses() -> None:
    """F-5.41, F-1.41: with the same headers"""
    caller = Caller()
    caller.replay("region=dfw")
    sent = caller.sent
    caller.fail()
    assert (caller.at, caller.sent) == ("dfw-2", sent)


def test_an_instance_that_refuses_is_retried_until_the_error_time() -> None:
    """F-1.2, F-1.51, F-6.53"""
    caller = Caller()
    caller.replay(TO_DFW_1)
    caller.fail_until_done()
    assert caller.code == "PR03"
    assert caller.elapsed == pytest.approx(7.5)
    assert set(caller.trace.path) == {"ams-1", "dfw-1"}
    assert caller.trace.hops[-1].attempts > 5


def test_a_timeout_shortens_the_error_time() -> None:
    """F-1.49, F-1.51"""
    caller = Caller()
    caller.replay(f"{TO_DFW_1};timeout=500ms")
    caller.fail_until_done()
    assert caller.code == "PR03"
    assert caller.elapsed == pytest.approx(0.5)


def test_a_timeout_limits_the_connect_timeout() -> None:
    """F-1.7, F-1.49"""
    caller = Caller()
    caller.replay("region=dfw;timeout=2s", after=3.0)
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.connect_seconds == 2.0
    caller.fail(Failure.TIMED_OUT, after=1.5)
    assert caller.decision.connect_seconds == 0.5


def test_exhausted_retries_are_rejected_without_a_wait() -> None:
    """F-1.55, F-5.42"""
    caller = Caller(options=RoutingOptions(attempts=1))
    caller.replay(TO_DFW_1)
    caller.fail()
    assert (caller.code, caller.rejection.wait_seconds) == ("PR03", 0.0)


def test_a_target_that_closes_the_connection_was_reached() -> None:
    """F-1.50, F-5.45"""
    caller = Caller()
    caller.replay(f"{TO_DFW_1};fallback=force_self")
    caller.fail(Failure.CLOSED)
    assert (caller.code, caller.rejection.log_machine_id) == ("PU02", DFW_1.id)


def test_the_current_fleet_is_used() -> None:
    """F-5.16"""
    caller = Caller(fleet(AMS_1))
    caller.router.fleet = DEMO
    caller.replay(TO_DFW_1)
    assert caller.at == "dfw-1"
    assert caller.trace.outcome is Outcome.PENDING


def test_a_machine_that_failed_before_a_replay_is_tried_without_backoff() -> None:
    """F-5.41: the backoff applies to one delivery and its retries"""
    caller = Caller()
    caller.fail()
    caller.replay(TO_AMS_1)
    assert caller.at == "ams-1"
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.wait_seconds == 0.0


def test_a_request_body_is_kept_by_default() -> None:
    replays, retries = Caller().exchange, Caller().exchange
    assert isinstance(replays.receive(response(307, {"fly-replay": TO_DFW_1}), NOW), Deliver)
    assert isinstance(retries.fail(Failure.REFUSED, NOW), Deliver)
