"""Replay loops: a machine that replays to itself, and machines that replay a request to each other.

The proxy ends such a request by count (F-1.38); this module names the cycle. A replay to a region may reach
another of its machines each time, so all machines that the same replay reaches count as one stop of the cycle.
"""

from __future__ import annotations

from simulator.diagnosis.evidence import replay_evidence
from simulator.diagnosis.replay import quote_replay
from simulator.results import Finding, Fix
from simulator.routing.model import Fleet
from simulator.routing.trace import Cause, Hop, Trace

_MIN_HOPS_COMPARED = 4
"""A cycle must match this many hops, if there are that many: a single repetition may be a coincidence."""


def find_self_replay(trace: Trace, fleet: Fleet) -> Finding | None:
    """A machine that replays to itself (gallery 1)."""
    for position, (hop, following) in enumerate(zip(trace.hops, trace.hops[1:], strict=False)):
        if following.cause is Cause.REPLAY and hop.machine_id == following.machine_id:
            return Finding(
                "self-replay",
                f"{hop.machine} responded with {quote_replay(hop)}, which led back to {hop.machine}",
                Fix(
                    "compare the target with FLY_MACHINE_ID before replaying, "
                    "and serve the request if they are equal"
                ),
                trace.request_id,
                ("F-1.39",),
                replay_evidence(trace, position),
            )
    return None


def find_replay_loop(trace: Trace, fleet: Fleet) -> Finding | None:
    """Machines that replay a request in a cycle (gallery 2 and 3), until the proxy ends it (F-1.38)."""
    if trace.error != "PA02" or find_self_replay(trace, fleet):
        return None
    return Finding(
        "replay-loop",
        f"the request was replayed in a cycle: {_describe_cycle(trace.hops)}; "
        f"the proxy gave up after {len(trace.hops)} deliveries",
        Fix(
            "serve a request that carries fly-replay-src instead of replaying it again; "
            "use one shared source of truth for the owner of each resource"
        ),
        trace.request_id,
        ("F-1.38",),
        replay_evidence(trace),
    )


def _describe_cycle(hops: tuple[Hop, ...]) -> str:
    stops = _stops(hops)
    length = _cycle_length(stops)
    if length is None:
        return " → ".join(_labels(hops))
    first = next(index for index in range(len(stops)) if stops[index] in stops[-length:])
    names = [_describe_stop(stop, stops, hops) for stop in stops[first : first + length]]
    if length == 1:
        return f"{names[0]}, among themselves"
    if length == 2:
        return " ⇄ ".join(names)
    return " → ".join([*names, names[0].partition(" (")[0]])


def _stops(hops: tuple[Hop, ...]) -> list[int]:
    """The number of each hop's stop. Machines reached by the same directive from the same stop are one stop."""
    labels = _labels(hops)
    stop_of = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    for _ in hops:  # One merge can require another; there are fewer merges than hops.
        led_to: dict[tuple[int, str | None], int] = {}
        for hop, label, target in zip(hops, labels, labels[1:], strict=False):
            there = led_to.setdefault((stop_of[label], hop.replay), stop_of[target])
            merged = stop_of[target]
            stop_of = {each: there if stop == merged else stop for each, stop in stop_of.items()}
    return [stop_of[label] for label in labels]


def _cycle_length(stops: list[int]) -> int | None:
    """Length of the shortest cycle that the last stops repeat. Eleven hops may not contain it twice."""
    for length in range(1, len(stops)):
        compared = min(len(stops) - length, max(length, _MIN_HOPS_COMPARED))
        if all(stops[-1 - back] == stops[-1 - back - length] for back in range(compared)):
            return length
    return None


def _describe_stop(stop: int, stops: list[int], hops: tuple[Hop, ...]) -> str:
    """`dfw-1/dfw-2 (region=ams)`"""
    labels = _labels(hops)
    machines = dict.fromkeys(label for label, its_stop in zip(labels, stops, strict=True) if its_stop == stop)
    directives = dict.fromkeys(
        hop.replay for hop, its_stop in zip(hops, stops, strict=True) if its_stop == stop and hop.replay
    )
    return f"{'/'.join(machines)} ({' or '.join(directives)})"


def _labels(hops: tuple[Hop, ...]) -> list[str]:
    """Machine names, hop by hop; with the app if there are several, because two apps may use the same name."""
    one_app = len({hop.app for hop in hops}) == 1
    return [hop.machine if one_app else f"{hop.app}/{hop.machine}" for hop in hops]
