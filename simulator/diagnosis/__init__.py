"""Diagnosis of exchanges: reads a trace and the fleet, and says what went wrong and how to fix it.

Pure: no I/O, clock or chance. It only reads: the proxy does not know that it exists.
"""

from __future__ import annotations

from simulator.diagnosis.rules import FINDINGS, RULES
from simulator.results import Finding
from simulator.routing.model import Fleet
from simulator.routing.trace import Trace

__all__ = ["FINDINGS", "Finding", "diagnose"]


def diagnose(trace: Trace, fleet: Fleet) -> tuple[Finding, ...]:
    """All findings about one exchange, the most serious first."""
    return tuple(finding for rule in RULES if (finding := rule(trace, fleet)) is not None)
