from __future__ import annotations

import json
from dataclasses import replace

import pytest

from simulator.routing import Cause, Hop, Outcome, Trace
from tests.routing.build import Caller, request

HOP = Hop(
    "d8dd626f379508", "ams-1", "streams", "ams", Cause.ROUTED, 1.0, 2.0, status=307, replay="region=dfw"
)
LAST = Hop(
    "286533db064e58",
    "dfw-1",
    "streams",
    "dfw",
    Cause.REPLAY,
    2.0,
    3.0,
    attempts=2,
    status=200,
    sent=(("fly-replay-src", "instance=d8dd626f379508"),),
    received=(("set-cookie", "a=1"), ("set-cookie", "b=2")),
)
TRACE = Trace(
    "01HF7YAT00000000000000000G-ams",
    "ams",
    "streams",
    "GET",
    "/",
    "streams.fly.dev",
    "https",
    1.0,
    hops=(HOP, LAST),
    outcome=Outcome.RELAYED,
    status=200,
    answered_at=3.0,
    ended_at=4.0,
    warnings=("unknown field 'x' is ignored",),
    cookies_sent=("a", "b"),
)


def test_the_path_lists_the_machines_hop_by_hop() -> None:
    assert TRACE.path == ("ams-1", "dfw-1")


@pytest.mark.parametrize(
    ("trace", "machine"),
    [
        (TRACE, "dfw-1"),
        (replace(TRACE, outcome=Outcome.BROKEN), "dfw-1"),
        (replace(TRACE, outcome=Outcome.CLIENT_LEFT), "dfw-1"),
        (replace(TRACE, outcome=Outcome.CLIENT_LEFT, status=None), None),
        (replace(TRACE, outcome=Outcome.PENDING, status=None), None),
        (replace(TRACE, outcome=Outcome.REJECTED, status=502), None),
        (replace(TRACE, outcome=Outcome.REJECTED, status=502, hops=()), None),
    ],
)
def test_served_by_is_the_machine_of_the_relayed_response(trace: Trace, machine: str | None) -> None:
    assert trace.served_by == machine


def test_a_trace_is_restored_from_its_json() -> None:
    data = json.loads(json.dumps(TRACE.as_dict()))
    assert (data["path"], data["served_by"]) == (["ams-1", "dfw-1"], "dfw-1")
    assert (data["outcome"], data["hops"][1]["cause"]) == ("relayed", "replay")
    assert Trace.from_dict(data) == TRACE


def test_unknown_keys_in_a_trace_are_ignored() -> None:
    assert Trace.from_dict(TRACE.as_dict() | {"bytes": 7}) == TRACE


def test_bytes_of_a_request_that_are_not_utf8_appear_as_escapes() -> None:
    """They reach routing as lone surrogates, which no encoder accepts."""
    trace = Caller(request=request(method="G\udce9T", target="/\udcff", host="\udce9.test")).trace
    assert (trace.method, trace.target, trace.host) == (r"G\xe9T", r"/\xff", r"\xe9.test")
    json.dumps(trace.as_dict(), ensure_ascii=False).encode()


def test_a_replay_body_that_is_not_utf8_is_shown_with_escapes() -> None:
    replay = b'{"region":"\xff"}'
    caller = Caller(request=request())
    caller.exchange._recorder.set_replay_body(replay)
    assert caller.trace.hops[-1].replay == r'{"region":"\xff"}'
