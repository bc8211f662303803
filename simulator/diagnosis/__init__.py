"""Diagnosis of exchanges: reads a trace and the fleet, and says what went wrong and how to fix it.

Pure: no I/O, clock or randomness. It only reads: the proxy does not know that it exists.
"""

from __future__ import annotations

from simulator.diagnosis.rules import FINDINGS, RULES
from simulator.results import Finding
from simulator.routing.model import Fleet
from simulator.routing.trace import Trace

__all__ = ["FINDINGS", "Finding", "diagnose"]


def diagnose(trace: Trace, fleet: Fleet) -> tuple[Finding, ...]:
    """All findings about one exchange, the most serious first.

    >>> machine = ("d8dd626f379508", "ams-1", "chat", "ams")
    >>> first = Hop(*machine, Cause.ROUTED, 0.0, replay="region=ams")
    >>> hops = (first, Hop(*machine, Cause.REPLAY, 0.1))
    >>> trace = Trace("01J", "ams", "chat", "GET", "/", "chat.fly.dev", "http", 0.0, hops)
    >>> [finding.id for finding in diagnose(trace, Fleet({}))]
    ['self-replay']
    """
    return tuple(finding for rule in RULES if (finding := rule(trace, fleet)) is not None)
