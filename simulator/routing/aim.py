"""What the deliveries under way are for: a new request, a replay of it, or the fallback of a replay.

Retries keep their aim; a replay or a fallback makes a new one. Sources: facts 1.6, 1.7 and 5.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.routing.directive import Fallback, ReplayDirective
from simulator.routing.errors import ProxyError
from simulator.routing.headers import (
    FLY_PREFERRED_INSTANCE_UNAVAILABLE,
    FLY_REPLAY_CACHE_STATUS,
    FLY_REPLAY_FAILED,
    FLY_REPLAY_SRC,
    FailedReplay,
    replay_src,
)
from simulator.routing.model import Fields, Machine
from simulator.routing.options import ROUTING_SECONDS
from simulator.routing.selection import Target
from simulator.routing.trace import Cause

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
"""Back-off between rounds of attempts (F-5.41); Fly does not publish its steps."""


@dataclass(slots=True)
class Aim:
    """Where deliveries are to go, why, for how long, and what has come of them so far."""

    target: Target
    cause: Cause
    since: float
    budget_seconds: float
    extra: Fields = ()
    """Header fields that only these deliveries carry."""
    directive: ReplayDirective | None = None
    source: Machine | None = None
    """The machine that replayed: errors stand in its app's log (F-6.2)."""
    attempts: int = 0
    last_error: ProxyError | None = None
    tried: set[str] = field(default_factory=set)
    """Ids of the machines that failed in this round."""

    def seconds_left(self, now: float) -> float:
        return max(0.0, self.since + self.budget_seconds - now)

    def pause_seconds(self) -> float:
        """How long to wait before the next round."""
        doublings = min(self.attempts - 1, 10)
        return min(FIRST_PAUSE_SECONDS * 2.0**doublings, LONGEST_PAUSE_SECONDS)

    def fields_for(self, machine: Machine) -> Fields:
        """The header fields of these deliveries, as `machine` gets them."""
        preferred = self.target.prefer_instance
        if self.cause is not Cause.REPLAY or preferred in (None, machine.id):
            return self.extra
        unavailable = str(preferred).encode("latin-1", "replace")
        return (*self.extra, (FLY_PREFERRED_INSTANCE_UNAVAILABLE, unavailable))  # F-1.46


def aim_at_app(app: str, now: float) -> Aim:
    """A new request: any machine of the app."""
    return Aim(Target(app), Cause.ROUTED, now, ROUTING_SECONDS)


def aim_at_replay(directive: ReplayDirective, source: Machine, now: float, budget_seconds: float) -> Aim:
    """What `source` asked for."""
    target = Target(
        app=directive.app or source.app,
        instance=directive.instance,
        prefer_instance=directive.prefer_instance,
        regions=directive.regions,
        excluded=source.id if directive.elsewhere else None,  # F-1.6, K-32: for this replay only
    )
    extra = (
        (FLY_REPLAY_SRC, replay_src(source, int(now * 1_000_000), directive.state)),
        (FLY_REPLAY_CACHE_STATUS, b"miss"),  # F-1.47, F-1.48
    )
    return Aim(target, Cause.REPLAY, now, budget_seconds, extra, directive, source)


def aim_at_fallback(fallback: Fallback, source: Machine, failed: Aim, reason: str, start: float) -> Aim:
    """The original request again, at the moment `start`: to the machine that replayed it, with the reason (F-1.52)."""
    if fallback is Fallback.FORCE_SELF:
        target = Target(source.app, instance=source.id)
    else:
        target = Target(source.app, prefer_instance=source.id)
    header = FailedReplay(
        instance=failed.target.instance or failed.target.prefer_instance,
        app=failed.target.app,
        region=",".join(failed.target.regions) or None,
        source=source.id,
        reason=reason,
        elapsed_ms=round((start - failed.since) * 1000),
    )
    extra = ((FLY_REPLAY_FAILED, header.header_value()),)  # F-1.54; and no fly-replay-src: K-17
    return Aim(target, Cause.FALLBACK, start, ROUTING_SECONDS, extra, source=source)
