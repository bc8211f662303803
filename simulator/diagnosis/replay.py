"""The replay that a hop answered with, read back from the record: in the header or in the body (F-1.9, F-1.75)."""

from __future__ import annotations

from simulator.routing.options import RoutingOptions
from simulator.routing.replay.body import parse_replay_body
from simulator.routing.replay.directive import DirectiveError, ReplayDirective, parse_directive
from simulator.routing.trace import Hop

_LENIENT = RoutingOptions(timeout_without_unit="milliseconds")


def read_replay(hop: Hop) -> ReplayDirective | None:
    """As the proxy took it, whatever its options (K-7, K-8); None where there was none, or it cannot be read."""
    if hop.replay is None:
        return None
    try:
        if _is_body(hop.replay):
            return parse_replay_body(hop.replay.encode("utf-8", "replace"), _LENIENT).directive
        return parse_directive(hop.replay, lenient_region_list=True, bare_milliseconds=True)
    except DirectiveError:
        return None


def quote_replay(hop: Hop, *, exactly: bool = False) -> str:
    """The replay in the words of the response that carried it; `exactly`: in quotes, for one that is not understood."""
    if hop.replay is None:
        return "a replay body that did not come whole"
    text = repr(hop.replay) if exactly else hop.replay
    return f"the replay body {text}" if _is_body(hop.replay) else f"fly-replay: {text}"


def _is_body(replay: str) -> bool:
    """No value of the header begins like a JSON object and can be read."""
    return replay.lstrip().startswith("{")
