"""Fallback of a replay whose target cannot be reached: `timeout` and `fallback` (facts 1.7)."""

from __future__ import annotations

import pytest

from simulator.routing import Cause, Deliver, Failure, Relay, RoutingOptions
from tests.routing.build import AMS_1, CHAT_1, DFW_1, DFW_2, Caller, fleet, request, stopped, two_apps

GONE = "00000000000000"
FORCE = f"instance={GONE};timeout=2s;fallback=force_self"
PREFER = f"instance={GONE};timeout=2s;fallback=prefer_self"


def parse(value: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in value.split(";"))


@pytest.mark.parametrize("directive", [FORCE, PREFER])
def test_a_replay_without_a_target_falls_back_to_its_machine(directive: str) -> None:
    """F-12.14, F-1.8, F-1.52, F-1.53"""
    caller = Caller()
    caller.replay(directive)
    assert caller.at == "ams-1"
    assert isinstance(caller.respond(200), Relay)
    assert caller.trace.path == ("ams-1", "ams-1")
    assert [hop.cause for hop in caller.trace.hops] == [Cause.ROUTED, Cause.FALLBACK]


def test_a_fallback_is_the_original_request_with_the_reason() -> None:
    """F-1.54, F-1.58, K-17; F-1.47: without the headers of a replay"""
    caller = Caller(request=request({"Cookie": "a=1"}))
    original = caller.sent
    caller.replay(FORCE)
    failed = f"instance={GONE};app=streams;replay_source={AMS_1.id};reason=no_candidate;elapsed_ms=2000"
    assert caller.sent == original | {"fly-replay-failed": failed}
    assert caller.trace.hops[1].sent == (("fly-replay-failed", failed),)


@pytest.mark.parametrize(
    ("directive", "named"),
    [
        (f"app=chat;instance={GONE};region=iad", {"instance": GONE, "app": "chat", "region": "iad"}),
        ('app=chat;region="iad,ord"', {"app": "chat", "region": "iad,ord"}),
        ("region=nrt", {"app": "streams", "region": "nrt"}),
        (f"prefer_instance={GONE};region=nrt", {"instance": GONE, "app": "streams", "region": "nrt"}),
    ],
)
def test_the_reason_names_the_target_of_the_replay(directive: str, named: dict[str, str]) -> None:
    """F-1.54, K-39"""
    caller = Caller(two_apps())
    caller.replay(f"{directive};timeout=0s;fallback=force_self")
    rest = {"replay_source": AMS_1.id, "reason": "no_candidate", "elapsed_ms": "0"}
    assert parse(caller.sent["fly-replay-failed"]) == named | rest


# Reasons.


def reason(caller: Caller) -> tuple[str, str]:
    failed = parse(caller.sent["fly-replay-failed"])
    return failed["reason"], failed["elapsed_ms"]


def test_a_target_that_does_not_respond_in_time_is_a_timeout() -> None:
    """F-1.53, F-1.55"""
    caller = Caller()
    caller.replay(f"instance={DFW_1.id};timeout=10s;fallback=force_self")
    caller.fail(Failure.TIMED_OUT, after=10.0)
    assert (caller.at, reason(caller)) == ("ams-1", ("timeout", "10000"))
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.wait_seconds == 0.0


def test_a_target_that_refuses_until_the_timeout_is_a_timeout() -> None:
    """F-1.53, F-1.55"""
    caller = Caller()
    caller.replay(f"instance={DFW_1.id};timeout=800ms;fallback=force_self")
    while caller.at == "dfw-1":
        caller.fail()
    assert (caller.at, reason(caller)) == ("ams-1", ("timeout", "800"))
    assert caller.elapsed == pytest.approx(0.8)


def test_a_target_that_refuses_too_often_is_retries_exhausted() -> None:
    """F-1.53, F-1.55"""
    caller = Caller(options=RoutingOptions(attempts=2))
    caller.replay("region=dfw;timeout=10s;fallback=force_self")
    caller.fail(after=0.1)
    caller.fail(after=0.1)
    assert (caller.at, reason(caller)) == ("ams-1", ("retries_exhausted", "200"))


def test_without_a_timeout_the_fallback_waits_for_the_default_error_time() -> None:
    """F-1.51, K-6"""
    caller = Caller()
    caller.replay(f"instance={GONE};fallback=force_self")
    assert reason(caller) == ("no_candidate", "7500")
    assert caller.elapsed == 7.5
    assert caller.trace.hops[1].started_at == caller.now


def test_an_error_response_of_the_target_causes_no_fallback() -> None:
    """F-1.50"""
    caller = Caller()
    caller.replay(f"instance={DFW_1.id};fallback=force_self")
    assert isinstance(caller.respond(503), Relay)
    assert caller.trace.served_by == "dfw-1"


def test_the_fallback_has_its_own_connect_timeout() -> None:
    caller = Caller()
    caller.replay(FORCE)
    assert isinstance(caller.decision, Deliver)
    assert (caller.elapsed, caller.decision.connect_seconds) == (2.0, 8.0)


# Target of the fallback.


def replay_from_a_machine_that_stops(directive: str) -> Caller:
    caller = Caller()
    caller.router.fleet = fleet(stopped(AMS_1), DFW_1, DFW_2)
    caller.replay(directive)
    return caller


def test_force_self_allows_only_the_same_machine() -> None:
    """F-1.52, F-6.2"""
    caller = replay_from_a_machine_that_stops(FORCE)
    assert (caller.code, caller.elapsed) == ("PR04", 2.0)
    assert caller.rejection.log_machine_id == AMS_1.id
    assert caller.trace.answered_at == caller.now


def test_prefer_self_allows_any_machine_of_the_app() -> None:
    """F-1.52"""
    caller = replay_from_a_machine_that_stops(PREFER)
    assert caller.at == "dfw-1"
    assert "fly-preferred-instance-unavailable" not in caller.sent


def test_a_fallback_stays_in_the_app_of_the_replaying_machine() -> None:
    """F-1.52"""
    caller = Caller(two_apps())
    caller.replay("app=chat")
    caller.router.fleet = two_apps().with_machine(stopped(CHAT_1))
    caller.replay(f"app=streams;instance={GONE};timeout=1s;fallback=prefer_self")
    assert (caller.code, caller.rejection.log_app) == ("PR04", "chat")


def test_a_refused_fallback_is_retried() -> None:
    """F-5.41"""
    caller = Caller()
    caller.replay(PREFER)
    caller.fail()
    assert caller.at == "dfw-1"
    assert "fly-replay-failed" in caller.sent
    assert caller.trace.hops[-1].cause is Cause.RETRY
    assert isinstance(caller.respond(), Relay)


def test_a_forced_fallback_that_keeps_failing_is_an_error_of_the_source() -> None:
    """F-1.52, F-6.2, F-6.53"""
    caller = Caller()
    caller.replay(FORCE)
    caller.fail_until_done()
    assert (caller.code, caller.rejection.log_machine_id) == ("PR03", AMS_1.id)
    assert set(caller.trace.path) == {"ams-1"}


@pytest.mark.parametrize("directive", [f"instance={DFW_1.id}", "nonsense", FORCE])
@pytest.mark.parametrize("retried", [False, True])
def test_a_fallback_cannot_be_replayed(directive: str, retried: bool) -> None:
    """F-1.56, K-18 (gallery 30)"""
    caller = Caller()
    caller.replay(FORCE)
    if retried:
        caller.fail()
    caller.replay(directive)
    assert (caller.code, caller.rejection.status) == ("PA03", 502)
    assert "fallback request, which cannot be replayed" in caller.rejection.error.message
    assert caller.rejection.log_machine_id == AMS_1.id
