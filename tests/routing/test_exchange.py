"""Exchange without a replay: first machine, retries, response to the client, log and trace."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.diagnosis import diagnose
from simulator.routing import (
    App,
    Cause,
    Deliver,
    Failure,
    Fleet,
    MachineState,
    Outcome,
    ProxyError,
    Relay,
    Router,
    RoutingOptions,
)
from simulator.routing.errors import BUG
from tests.routing.build import (
    AMS_1,
    DEMO,
    DFW_1,
    NOW,
    Caller,
    as_texts,
    fleet,
    request,
    stopped,
    two_apps,
)

CONNECTION_FAILURES = [failure for failure in Failure if not failure.reached_the_machine]


@pytest.mark.parametrize(("edge", "machine"), [("ams", "ams-1"), ("dfw", "dfw-1"), ("lhr", "ams-1")])
def test_a_request_goes_to_the_closest_machine_and_its_response_to_the_client(
    edge: str, machine: str
) -> None:
    """F-5.1"""
    caller = Caller(edge=edge)
    assert caller.at == machine
    assert isinstance(caller.respond(200), Relay)
    assert (caller.trace.path, caller.trace.served_by, caller.trace.status) == ((machine,), machine, 200)


def test_the_machine_gets_the_clients_headers_and_flys_but_none_of_a_replay() -> None:
    """F-1.47, F-4.1 to F-4.8: there is no cache status without a replay"""
    sent = Caller(request=request({"Cookie": "a=1", "fly-replay-src": "instance=forged"})).sent
    assert (sent["cookie"], sent["fly-region"]) == ("a=1", "ams")
    assert not [name for name in sent if name.startswith("fly-replay")]


def test_the_client_gets_the_machines_headers_and_flys() -> None:
    """F-4.21"""
    caller = Caller()
    relay = caller.respond(404, {"x-app": "1", "server": "uvicorn"})
    assert isinstance(relay, Relay)
    assert as_texts(relay.fields)["x-app"] == "1"
    assert as_texts(relay.fields)["via"] == "1.1 fly.io"
    assert as_texts(relay.fields)["fly-request-id"] == caller.exchange.request_id


@pytest.mark.parametrize("status", [101, 200, 204, 301, 404, 500, 503])
def test_any_status_without_fly_replay_is_relayed(status: int) -> None:
    """F-1.50: an error response of the app is a response"""
    caller = Caller()
    assert isinstance(caller.respond(status), Relay)
    assert caller.trace.websocket is (status == 101)


def test_the_host_chooses_the_app() -> None:
    assert Caller(two_apps(), request=request(host="chat.fly.dev")).trace.app == "chat"


def test_without_any_app_every_request_is_rejected_as_pr01() -> None:
    """F-6.51: as for a port without a service"""
    caller = Caller(Fleet.of([]), request=request(host="chat.fly.dev"))

    assert str(caller.rejection.error) == "[PR01] no known healthy instances found for route tcp/80"
    assert (caller.rejection.status, caller.rejection.log_app, caller.trace.app) == (
        502,
        *["chat.fly.dev"] * 2,
    )


def test_without_a_running_machine_the_request_is_rejected_at_once() -> None:
    """F-6.1, F-6.54, K-3, K-33"""
    caller = Caller(fleet(stopped(AMS_1)))
    assert str(caller.rejection.error) == (
        "[PR04] could not find a good candidate within 40 attempts at load balancing"
    )
    assert (caller.rejection.status, caller.elapsed) == (502, 0.0)
    assert (caller.rejection.log_app, caller.rejection.log_machine_id, caller.rejection.log_region) == (
        "streams",
        None,
        "ams",
    )
    assert (caller.trace.outcome, caller.trace.status, caller.trace.error) == (Outcome.REJECTED, 502, "PR04")
    assert caller.trace.served_by is None


def test_the_status_for_no_candidate_can_be_configured() -> None:
    """K-3, F-6.60"""
    assert Caller(fleet(), options=RoutingOptions(no_candidate_status=503)).rejection.status == 503


@pytest.mark.parametrize("failure", CONNECTION_FAILURES)
def test_if_a_machine_cannot_be_reached_the_proxy_tries_the_next(failure: Failure) -> None:
    """F-5.41"""
    caller = Caller()
    caller.fail(failure)
    assert caller.at == "dfw-1"
    caller.fail(failure)
    assert caller.at == "dfw-2"
    caller.respond()
    assert caller.trace.path == ("ams-1", "dfw-1", "dfw-2")
    assert [hop.cause for hop in caller.trace.hops] == [Cause.ROUTED, Cause.RETRY, Cause.RETRY]
    assert caller.elapsed == 0.0


def test_if_all_machines_failed_they_are_retried_with_backoff() -> None:
    """F-5.41: with backoff"""
    caller = Caller(fleet(AMS_1))
    pauses = []
    while isinstance(caller.fail(), Deliver):
        pauses.append(caller.decision.wait_seconds)  # type: ignore[union-attr]
    assert pauses[:6] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0])
    assert set(pauses[6:]) == {1.0}
    assert sum(pauses) < 8.0  # F-10.5


def test_consecutive_attempts_at_one_machine_are_one_hop() -> None:
    caller = Caller(fleet(AMS_1))
    caller.fail()
    caller.fail()
    caller.respond(200, after=0.5)
    (hop,) = caller.trace.hops
    assert (hop.attempts, hop.cause, hop.status, hop.failure) == (3, Cause.ROUTED, 200, None)
    assert hop.ended_at == caller.now


def test_a_machine_that_is_never_reached_ends_in_pr03_with_the_last_error() -> None:
    """F-6.53, F-6.16"""
    caller = Caller(fleet(AMS_1))
    caller.fail_until_done(Failure.REFUSED)
    assert caller.code == "PR03"
    assert "within 40 attempts" in caller.rejection.error.message
    assert (
        "[PC01] instance refused connection. is your app listening on 0.0.0.0:8080?"
        in caller.rejection.error.message
    )
    assert caller.elapsed <= 8.0  # F-10.5
    assert caller.trace.message == caller.rejection.error.message
    assert caller.trace.answered_at == caller.now


def test_the_number_of_attempts_is_configurable() -> None:
    """K-33"""
    caller = Caller(options=RoutingOptions(attempts=2))
    caller.fail()
    caller.fail()
    assert caller.code == "PR03"
    assert "within 2 attempts" in caller.rejection.error.message
    assert caller.trace.path == ("ams-1", "dfw-1")


def test_a_thousand_attempts_do_not_overflow_the_backoff() -> None:
    caller = Caller(fleet(AMS_1), options=RoutingOptions(attempts=100_000, replay_error_seconds=3_000.0))
    caller.replay(f"instance={AMS_1.id}")
    caller.fail_until_done()
    assert caller.trace.hops[-1].attempts > 1_100


def test_the_connect_timeout_is_the_time_that_is_left() -> None:
    """F-10.5"""
    caller = Caller()
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.connect_seconds == 8.0
    caller.fail(Failure.TIMED_OUT, after=3.0)
    assert caller.decision.connect_seconds == 5.0
    caller.fail(Failure.TIMED_OUT, after=5.0)
    assert caller.code == "PR03"


def test_a_pause_counts_against_the_time_to_connect() -> None:
    caller = Caller(fleet(AMS_1))
    caller.fail(after=1.0)
    assert isinstance(caller.decision, Deliver)
    assert caller.decision.wait_seconds + caller.decision.connect_seconds == pytest.approx(7.0)


def test_if_the_only_machine_stops_the_retry_fails() -> None:
    """F-6.53: the last error is that of the first attempt"""
    caller = Caller(fleet(AMS_1))
    caller.router.fleet = fleet(stopped(AMS_1))
    caller.fail()
    assert caller.code == "PR03"


def test_a_machine_that_starts_in_the_meantime_is_used_for_the_next_attempt() -> None:
    """F-5.16"""
    caller = Caller(fleet(AMS_1))
    caller.router.fleet = DEMO
    caller.fail()
    assert caller.at == "dfw-1"


@pytest.mark.parametrize("failure", [Failure.CLOSED, Failure.UNREADABLE])
def test_a_request_that_reached_the_app_is_not_resent(failure: Failure) -> None:
    """F-5.45, F-6.12, K-34"""
    caller = Caller()
    caller.fail(failure)
    assert (caller.code, caller.rejection.status) == ("PU02", 502)
    assert (caller.rejection.log_machine_id, caller.rejection.log_region) == (AMS_1.id, "ams")
    assert caller.trace.path == ("ams-1",)
    assert caller.trace.hops[0].failure == str(caller.rejection.error)


def test_a_request_without_its_body_cannot_be_retried() -> None:
    """F-5.46, F-6.44"""
    caller = Caller()
    caller.fail(Failure.REFUSED, body_kept=False)
    assert (caller.code, caller.rejection.status) == ("PA01", 502)


@pytest.mark.parametrize(
    "changes", [{"healthy": False}, {"cordoned": True}, {"state": MachineState.STARTING}], ids=str
)
def test_unavailable_machines_get_no_requests(changes: dict[str, object]) -> None:
    """F-5.13, F-5.17"""
    assert Caller(fleet(replace(AMS_1, **changes), DFW_1)).at == "dfw-1"  # type: ignore[arg-type]


# The trace.


def test_a_trace_contains_the_request_and_its_times() -> None:
    caller = Caller(request=request({"Cookie": "a=1; b=2"}, method="POST", target="/room?x=1"))
    caller.respond(201, {"set-cookie": "c=3"}, after=0.25)
    trace = caller.exchange.finish(caller.now + 1.0)
    assert (trace.method, trace.target, trace.host, trace.scheme, trace.edge, trace.app) == (
        "POST",
        "/room?x=1",
        "streams.fly.dev",
        "http",
        "ams",
        "streams",
    )
    assert (trace.started_at, trace.answered_at, trace.ended_at) == (NOW, NOW + 0.25, NOW + 1.25)
    assert trace.cookies_sent == ("a", "b")
    assert trace.outcome is Outcome.RELAYED
    (hop,) = trace.hops
    assert (hop.machine_id, hop.app, hop.region, hop.status) == (AMS_1.id, "streams", "ams", 201)
    assert (hop.started_at, hop.ended_at) == (NOW, NOW + 0.25)
    assert hop.received == (("set-cookie", "c=3"),)


def test_a_trace_can_be_read_before_the_end() -> None:
    caller = Caller()
    assert (caller.trace.outcome, caller.trace.served_by, caller.trace.path) == (
        Outcome.PENDING,
        None,
        ("ams-1",),
    )


def test_a_client_that_disconnects_before_the_response_was_not_served() -> None:
    caller = Caller()
    trace = caller.exchange.finish(NOW + 2.0, Outcome.CLIENT_LEFT)
    assert (trace.outcome, trace.served_by, trace.status) == (Outcome.CLIENT_LEFT, None, None)
    assert (trace.hops[0].failure, trace.hops[0].ended_at) == ("the client disconnected", NOW + 2.0)


def test_a_client_that_disconnects_during_the_response_was_served() -> None:
    caller = Caller()
    caller.respond(200)
    trace = caller.exchange.finish(NOW + 2.0, Outcome.CLIENT_LEFT)
    assert (trace.outcome, trace.served_by, trace.hops[0].failure) == (Outcome.CLIENT_LEFT, "ams-1", None)


def test_a_websocket_ends_with_its_close_code() -> None:
    caller = Caller()
    caller.respond(101)
    trace = caller.exchange.finish(NOW + 9.0, close_code=1001)
    assert (trace.websocket, trace.close_code, trace.ended_at) == (True, 1001, NOW + 9.0)


def test_an_exchange_without_a_machine_can_be_finished() -> None:
    caller = Caller(Fleet.of([App("streams")]))
    assert caller.exchange.finish(NOW).outcome is Outcome.REJECTED


def test_a_note_is_added_to_a_hop_once() -> None:
    caller = Caller()
    caller.exchange.add_note("a fault")
    caller.exchange.add_note("a fault")
    caller.exchange.add_note("another")
    assert caller.trace.hops[0].note == "a fault; another"


def test_a_bug_in_flysim_before_the_response_is_a_rejection() -> None:
    caller = Caller()
    trace = caller.exchange.abort(ProxyError(BUG, "flysim hit a bug"), NOW + 2)
    assert (trace.outcome, trace.status, trace.error) == (Outcome.REJECTED, 502, BUG)
    assert trace.hops[-1].failure == "[BUG] flysim hit a bug"
    assert caller.router.load.of_machine(AMS_1.id) == 0


def test_a_bug_in_flysim_within_the_response_breaks_it() -> None:
    caller = Caller()
    caller.respond(200)
    trace = caller.exchange.abort(ProxyError(BUG, "flysim hit a bug"), NOW + 2)
    assert (trace.outcome, trace.status, trace.error) == (Outcome.BROKEN, 200, BUG)
    assert trace.hops[-1].failure is None
    assert not diagnose(trace, DEMO)


def test_a_bug_in_flysim_before_any_delivery_is_a_rejection() -> None:
    exchange = Router(DEMO, RoutingOptions(), lambda n: 0).open(request(), "ams", "id", NOW)
    trace = exchange.abort(ProxyError(BUG, "flysim hit a bug"), NOW)
    assert (trace.outcome, trace.hops) == (Outcome.REJECTED, ())
