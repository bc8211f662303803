"""The replay that a hop requested, read from the trace: from the header or the body (F-1.9, F-1.75)."""

from __future__ import annotations

from simulator.routing.options import RoutingOptions
from simulator.routing.replay.body import parse_replay_body
from simulator.routing.replay.directive import DirectiveError, ReplayDirective, parse_directive
from simulator.routing.trace import Hop

_LENIENT = RoutingOptions(timeout_without_unit="milliseconds")


def read_replay(hop: Hop) -> ReplayDirective | None:
    """The directive as the proxy parsed it, with the most lenient options (K-7, K-8); None without a valid one."""
    if hop.replay is None:
        return None
    try:
        if is_body(hop.replay):
            return parse_replay_body(hop.replay.encode("utf-8", "replace"), _LENIENT).directive
        return parse_directive(hop.replay, lenient_region_list=True, bare_milliseconds=True)
    except DirectiveError:
        return None


def quote_replay(hop: Hop, *, exactly: bool = False) -> str:
    """The replay in a message. `exactly`: in quotes and with escapes, for a value that cannot be parsed."""
    if hop.replay is None:
        return "an incomplete replay body"
    text = repr(hop.replay) if exactly else hop.replay
    return f"the replay body {text}" if is_body(hop.replay) else f"fly-replay: {text}"


def is_body(replay: str) -> bool:
    """Whether this is a replay body: no valid header value begins like a JSON object."""
    return replay.lstrip().startswith("{")
