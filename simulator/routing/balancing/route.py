"""Route of the current deliveries: a new request, a cached replay, a replay, or the fallback of a replay.

Retries keep their route; a replay or a fallback makes a new one. Sources: facts 1.6, 1.7 and 5.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from simulator.routing.balancing.selection import Target
from simulator.routing.cache.replay_cache import CachedReplay, CacheStatus
from simulator.routing.errors import ProxyError
from simulator.routing.headers import (
    FLY_PREFERRED_INSTANCE_UNAVAILABLE,
    FLY_REPLAY_CACHE_STATUS,
    FLY_REPLAY_FAILED,
    FLY_REPLAY_SRC,
    FailedReplay,
    FailureReason,
)
from simulator.routing.model import Fields, Machine
from simulator.routing.options import ROUTING_SECONDS, RoutingOptions
from simulator.routing.replay.body import ReplayBody
from simulator.routing.replay.directive import Fallback, ReplayDirective
from simulator.routing.trace import Cause

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
"""Limit of the backoff between rounds of attempts (F-5.41); Fly does not publish its steps."""


@dataclass(slots=True)
class MachineStart:
    """A machine that a delivery waits for while it starts."""

    machine_id: str
    since: float
    requested: bool = False
    """Whether the start was requested: a machine that is suspending finishes that first (F-5.31)."""
    was_starting: bool = False
    """Whether it was seen starting: if it is stopped after that, the start failed."""


@dataclass(slots=True)
class Route:
    """Target, cause and time budget of the current deliveries, and their progress so far."""

    target: Target
    cause: Cause
    since: float
    budget_seconds: float
    extra: Fields = ()
    """Header fields that are added to these deliveries only."""
    replay: ReplayBody | None = None
    source: Machine | None = None
    """The machine that replayed: errors go to its app's log (F-6.2)."""
    attempts: int = 0
    last_error: ProxyError | None = None
    tried: set[str] = field(default_factory=set)
    """Ids of the machines that failed in this round."""
    failed_starts: set[str] = field(default_factory=set)
    """Ids of the machines whose start failed."""
    empty_rounds: int = 0
    """How many times no machine matched."""
    start: MachineStart | None = None
    queued_since: float | None = None

    @property
    def fallback(self) -> Fallback | None:
        return self.replay.directive.fallback if self.replay else None

    @property
    def timeout_seconds(self) -> float:
        """The `timeout` of the replay (F-1.49); infinite if it has none."""
        seconds = self.replay.directive.timeout_seconds if self.replay else None
        return inf if seconds is None else seconds

    def seconds_left(self, now: float) -> float:
        return max(0.0, self.since + self.budget_seconds - now)

    def describe_wait(self, now: float) -> str | None:
        """A note for the trace: what a delivery that starts now has waited for."""
        if self.start is not None:
            return f"the machine was started for this request in {now - self.start.since:.1f} s (F-1.59)"
        if self.queued_since is not None:
            return f"queued for {now - self.queued_since:.1f} s: every machine was at its hard limit (F-5.6)"
        return None

    def pause_seconds(self) -> float:
        """Backoff before the next round, in seconds."""
        doublings = max(0, min(self.attempts + self.empty_rounds - 1, 10))
        return min(FIRST_PAUSE_SECONDS * 2.0**doublings, LONGEST_PAUSE_SECONDS)

    def fields_for(self, machine: Machine) -> Fields:
        """The header fields that are added to a delivery to `machine`."""
        preferred = self.target.prefer_instance
        if self.cause is Cause.FALLBACK or preferred in (None, machine.id):
            return self.extra
        unavailable = str(preferred).encode("latin-1", "replace")
        return (*self.extra, (FLY_PREFERRED_INSTANCE_UNAVAILABLE, unavailable))  # F-1.46


def route_for_request(target: Target, now: float, status: CacheStatus | None = None) -> Route:
    """A new request to the target of its headers; `status` is set if the client bypassed the cache (F-2.29)."""
    extra = ((FLY_REPLAY_CACHE_STATUS, status.value.encode()),) if status else ()
    return Route(target, Cause.ROUTED, now, ROUTING_SECONDS, extra)


def route_from_cache(cached: CachedReplay, now: float, budget_seconds: float) -> Route:
    """A cached replay: the origin is not asked, and there is no fly-replay-src (F-2.6)."""
    target = target_of(cached.directive, cached.source_app, cached.source_id)
    extra = ((FLY_REPLAY_CACHE_STATUS, CacheStatus.HIT.value.encode()),)
    return Route(target, Cause.CACHED, now, budget_seconds, extra)


def route_for_replay(
    replay: ReplayBody, target: Target, source: Machine, src: bytes, now: float, budget_seconds: float
) -> Route:
    """The replay that `source` asked for; `src` is the value of fly-replay-src."""
    extra = (
        (FLY_REPLAY_SRC, src),
        (FLY_REPLAY_CACHE_STATUS, CacheStatus.MISS.value.encode()),
    )  # F-1.47, F-1.48
    return Route(target, Cause.REPLAY, now, budget_seconds, extra, replay, source)


def target_of(directive: ReplayDirective, source_app: str, source_id: str) -> Target:
    """The target of a directive from the machine `source_id`."""
    return Target(
        app=directive.app or source_app,
        instance=directive.instance,
        prefer_instance=directive.prefer_instance,
        regions=directive.regions,
        excluded=frozenset({source_id}) if directive.elsewhere else frozenset(),  # F-1.6
    )


def route_for_fallback(
    failed: Route, source: Machine, reason: FailureReason, start: float, options: RoutingOptions
) -> Route:
    """The original request again, from the time `start`: to the machine that replayed it, with the reason (F-1.52)."""
    if failed.fallback is Fallback.FORCE_SELF:
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
    value = header.header_value(with_unknown=options.name_unknown_failed_fields)
    extra: Fields = ((FLY_REPLAY_FAILED, value),)  # F-1.54
    if options.replay_src_on_fallback:  # K-17
        extra = (*(field for field in failed.extra if field[0] == FLY_REPLAY_SRC), *extra)
    return Route(target, Cause.FALLBACK, start, ROUTING_SECONDS, extra, source=source)
