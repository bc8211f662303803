"""The choices that Fly leaves open (facts, section 13): one field each, with the default that the facts suggest.

A person sets them under `[proxy]` in flysim.toml; docs/fidelity.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoutingOptions:
    """What the emulated proxy does where Fly's documents are silent or disagree."""

    replay_body_limit_bytes: int = 1_048_576
    """K-1: a request body larger than this cannot be replayed (PA01)."""
    replay_error_status: int = 502
    """K-2: what the client sees for PA01 to PA05."""
    no_candidate_status: int = 502
    """K-3: what the client sees for PR01 to PR04."""
    replay_error_seconds: float = 7.5
    """K-6: how long the proxy looks for a replay's target before it gives up, on the simulated clock; 0: one try."""
    lenient_region_list: bool = False
    """K-8: accept a region list without quotes."""
    strip_forged_headers: bool = True
    """K-15: remove `fly-replay-*` and `fly-preferred-instance-unavailable` that a client sent."""
    attempts: int = 40
    """K-33: how many times the proxy tries to reach a machine before PR03."""


ROUTING_SECONDS = 8.0
"""How long the proxy looks for a machine where no replay sets the time: measured in logs (F-5.30, F-10.5)."""

MAX_REPLAYS = 10
"""F-1.38, F-10.2: the eleventh `fly-replay` of one request ends in PA02."""
