"""Hop ladder: layout, repeated hops, headers and outcomes."""

from __future__ import annotations

from dataclasses import replace
from textwrap import dedent

from simulator.report import ladder
from simulator.report.hop_ladder import WIDTH, collapse
from simulator.routing.trace import Cause, Hop, Outcome, Trace

AMS = Hop(
    "d8dd626f379508",
    "ams-1",
    "chat",
    "ams",
    Cause.ROUTED,
    started_at=100.0,
    ended_at=100.003,
    status=307,
    replay="instance=286533db064e58",
    received=(("fly-replay", "instance=286533db064e58"),),
)
DFW = Hop(
    "286533db064e58",
    "dfw-1",
    "chat",
    "dfw",
    Cause.REPLAY,
    started_at=100.003,
    ended_at=100.011,
    status=200,
    sent=(("fly-replay-src", "instance=d8dd626f379508;region=ams;t=1730000000000000"),),
    received=(("content-type", "text/html"),),
)
TRACE = Trace(
    request_id="01-ams",
    edge="ams",
    app="chat",
    method="GET",
    target="/?instance=286533db064e58",
    host="127.0.0.1",
    scheme="http",
    started_at=100.0,
    hops=(AMS, DFW),
    outcome=Outcome.RELAYED,
    status=200,
    answered_at=100.012,
)


def assert_ladder(trace: Trace, expected: str, *, headers: bool = False) -> None:
    assert ladder(trace, headers=headers) == dedent(expected).strip("\n")


def test_a_replay_is_two_lines() -> None:
    assert_ladder(
        TRACE,
        """
GET /?instance=286533db064e58  at edge ams  → 200 from dfw-1 in 12 ms
  1  ams-1  ams  d8dd626f379508  routed  307  fly-replay: instance=286533db064e58               3 ms
  2  dfw-1  dfw  286533db064e58  replay  200  fly-replay-src: instance=d8dd626f379508;regi…     8 ms
""",
    )


def test_headers_are_shown_in_full_on_request() -> None:
    assert_ladder(
        TRACE,
        """
GET /?instance=286533db064e58  at edge ams  → 200 from dfw-1 in 12 ms
  1  ams-1  ams  d8dd626f379508  routed  307                                                    3 ms
      ← fly-replay: instance=286533db064e58
  2  dfw-1  dfw  286533db064e58  replay  200                                                    8 ms
      → fly-replay-src: instance=d8dd626f379508;region=ams;t=1730000000000000
      ← content-type: text/html
""",
        headers=True,
    )


def test_repeated_hops_are_counted() -> None:
    """Gallery 1: eleven hops on one machine."""
    rejected = replace(
        TRACE,
        hops=(AMS, *[replace(AMS, cause=Cause.REPLAY)] * 10),
        outcome=Outcome.REJECTED,
        status=502,
        error="PA02",
        message="too many",
    )
    assert_ladder(
        rejected,
        """
GET /?instance=286533db064e58  at edge ams  → 502 from the proxy, PA02 in 12 ms
     1  ams-1  ams  d8dd626f379508  routed  307  fly-replay: instance=286533db064e58            3 ms
  2–11  ams-1  ams  d8dd626f379508  replay  307  fly-replay: instance=286533db064e58            3 ms
  ✗ PA02 too many
""",
    )


def test_a_cycle_is_shown_once_with_its_count() -> None:
    """Gallery 2: two machines replay to each other."""
    back = replace(DFW, status=307, replay="instance=d8dd626f379508")
    again = replace(AMS, cause=Cause.REPLAY)
    text = ladder(replace(TRACE, hops=(AMS, *(back, again) * 5)))
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["1", "2", "3", "⋮"]
    assert "hops 2–3 occur 5 times, up to hop 11" in text


def test_headers_of_equal_hops_are_shown_once() -> None:
    """A loop through a region: no block of hops repeats, but each hop equals an earlier one."""
    dfw = [
        replace(DFW, machine=name, machine_id=name, replay="region=ams", status=307) for name in ("a", "b")
    ]
    again = replace(AMS, cause=Cause.REPLAY)
    hops = (AMS, dfw[0], again, dfw[1], again, dfw[1], again, dfw[0], again, dfw[0], again)
    lines = ladder(replace(TRACE, hops=hops), headers=True).splitlines()[1:]
    assert [line.split()[0] for line in lines if not line.startswith("      ")] == [
        str(number) for number in range(1, 12)
    ]
    assert len([line for line in lines if "→ fly-replay-src" in line]) == 2
    assert len([line for line in lines if "← fly-replay:" in line]) == 2


def test_a_narrow_terminal_gets_short_lines_without_ids() -> None:
    lines = ladder(TRACE, width=50).splitlines()[1:]
    assert max(map(len, lines)) <= 50
    assert "d8dd626f379508" not in lines[0].split("fly-replay")[0]


def test_a_rejected_handshake_is_shown_as_a_websocket() -> None:
    assert ladder(TRACE, as_websocket=True).startswith("WebSocket /?instance=")


def test_hops_that_occur_twice_are_listed() -> None:
    assert [block.repeats for block in collapse((AMS, AMS))] == [1, 1]


def test_attempts_failures_and_warnings_are_shown() -> None:
    failed = replace(AMS, status=None, replay=None, failure="[PC01] refused", attempts=3)
    text = ladder(
        replace(TRACE, hops=(failed, DFW), warnings=("a list needs quotes",), close_code=1006, websocket=True)
    )
    assert text.startswith("WebSocket /?instance=")
    assert "routed ×3  —    [PC01] refused" in text
    assert text.endswith("  WebSocket closed with code 1006\n  ! a list needs quotes")


def test_every_outcome_has_a_text() -> None:
    pending = replace(TRACE, hops=(), outcome=Outcome.PENDING, status=None, answered_at=None)
    assert ladder(pending) == "GET /?instance=286533db064e58  at edge ams  → no response yet"
    left = replace(pending, outcome=Outcome.CLIENT_LEFT)
    assert "the client disconnected before a response" in ladder(left)
    rejected = replace(pending, outcome=Outcome.REJECTED, status=502, error="PR01", message="no machine")
    assert ladder(rejected).splitlines()[1:] == ["  no machine received the request", "  ✗ PR01 no machine"]
    redirect = replace(pending, outcome=Outcome.RELAYED, status=301)
    assert ladder(redirect).endswith("→ 301 from the proxy")
    assert "in the middle of its response" in ladder(replace(TRACE, outcome=Outcome.BROKEN))


def test_long_or_unprintable_values_are_cut_and_escaped() -> None:
    unprintable = replace(AMS, replay="\x1b[31m" + "x" * 500)
    text = ladder(replace(TRACE, target="/" + "y" * 500, hops=(unprintable,)))
    assert "\x1b" not in text
    assert max(map(len, text.splitlines()[1:])) <= WIDTH


def test_the_note_of_a_hop_is_shown_below_it() -> None:
    waited = replace(AMS, status=200, replay=None, received=(), note="it was started for this request")
    assert ladder(replace(TRACE, hops=(waited,))).splitlines()[2] == "      · it was started for this request"
