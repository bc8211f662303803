"""Requests that go round: a machine that replays to itself, and machines that send a request to one another.

The proxy ends such a request by count (F-1.38). Here the round is told as it was: a replay to a region may come to
another of its machines every time, so machines that the same replays lead to are told as one stop of the round.
"""

from __future__ import annotations

from simulator.diagnosis.finding import Finding
from simulator.diagnosis.replay import quote_replay
from simulator.routing.model import Fleet
from simulator.routing.trace import Cause, Hop, Trace

_SURE_STEPS = 4
"""A round has to hold for that many hops, if there are as many, so that one repetition alone is none."""


def find_self_replay(trace: Trace, fleet: Fleet) -> Finding | None:
    """A machine that replays to itself (gallery 1)."""
    for hop, following in zip(trace.hops, trace.hops[1:], strict=False):
        if following.cause is Cause.REPLAY and hop.machine_id == following.machine_id:
            return Finding(
                "self-replay",
                f"{hop.machine} answered with {quote_replay(hop)}, which led to {hop.machine} itself",
                "compare the target with FLY_MACHINE_ID before replaying, and serve the request when they are equal",
                trace.request_id,
            )
    return None


def find_replay_loop(trace: Trace, fleet: Fleet) -> Finding | None:
    """Machines that send a request round in a circle (gallery 2 and 3); the proxy ended it by count (F-1.38)."""
    if trace.error != "PA02" or find_self_replay(trace, fleet):
        return None
    return Finding(
        "replay-loop",
        f"the request went round: {_describe_round(trace.hops)}, and was ended after {len(trace.hops)} deliveries",
        "never replay a request that carries fly-replay-src; let the machines share one truth about who owns what",
        trace.request_id,
    )


def _describe_round(hops: tuple[Hop, ...]) -> str:
    stops = _stops(hops)
    length = _length_of_round(stops)
    if length is None:
        return " → ".join(_labels(hops))
    first = next(index for index in range(len(stops)) if stops[index] in stops[-length:])
    words = [_describe_stop(stop, stops, hops) for stop in stops[first : first + length]]
    if length == 1:
        return f"{words[0]}, among themselves"
    if length == 2:
        return " ⇄ ".join(words)
    return " → ".join([*words, words[0].partition(" (")[0]])


def _stops(hops: tuple[Hop, ...]) -> list[int]:
    """For each hop the number of its stop: machines that one stop's same directive led to are one stop together."""
    labels = _labels(hops)
    stop_of = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    for _ in hops:  # Each merge can lead to the next; there are fewer of them than hops.
        led_to: dict[tuple[int, str | None], int] = {}
        for hop, label, target in zip(hops, labels, labels[1:], strict=False):
            there = led_to.setdefault((stop_of[label], hop.replay), stop_of[target])
            merged = stop_of[target]
            stop_of = {each: there if stop == merged else stop for each, stop in stop_of.items()}
    return [stop_of[label] for label in labels]


def _length_of_round(stops: list[int]) -> int | None:
    """The shortest round in which the last stops repeat themselves; eleven hops need not hold it twice."""
    for length in range(1, len(stops)):
        compared = min(len(stops) - length, max(length, _SURE_STEPS))
        if all(stops[-1 - back] == stops[-1 - back - length] for back in range(compared)):
            return length
    return None


def _describe_stop(stop: int, stops: list[int], hops: tuple[Hop, ...]) -> str:
    """`dfw-1/dfw-2 (region=ams)`"""
    labels = _labels(hops)
    machines = dict.fromkeys(label for label, its_stop in zip(labels, stops, strict=True) if its_stop == stop)
    asked = dict.fromkeys(
        hop.replay for hop, its_stop in zip(hops, stops, strict=True) if its_stop == stop and hop.replay
    )
    return f"{'/'.join(machines)} ({' or '.join(asked)})"


def _labels(hops: tuple[Hop, ...]) -> list[str]:
    """The machines by name, hop by hop; with their app where there are several: names repeat between apps."""
    one_app = len({hop.app for hop in hops}) == 1
    return [hop.machine if one_app else f"{hop.app}/{hop.machine}" for hop in hops]
