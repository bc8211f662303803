"""Reads traces and says what went wrong and how to mend it. Pure, and never steers: the proxy knows nothing of it."""

from __future__ import annotations

from simulator.diagnosis.finding import FINDINGS, Finding
from simulator.diagnosis.rules import RULES
from simulator.routing.model import Fleet
from simulator.routing.trace import Trace

__all__ = ["FINDINGS", "Finding", "diagnose"]


def diagnose(trace: Trace, fleet: Fleet) -> tuple[Finding, ...]:
    """All findings about one exchange, the gravest first."""
    return tuple(finding for rule in RULES if (finding := rule(trace, fleet)) is not None)
