"""Rules of the replay cache for one request: when an entry is stored, used and invalidated (facts section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulator.routing.cache.replay_cache import (
    MIN_TTL_SECONDS,
    CachedReplay,
    CacheInstruction,
    CacheLookup,
    ReplayCache,
    find_rule,
    parse_pattern,
)
from simulator.routing.cache.rule import CacheRule
from simulator.routing.headers import find_field
from simulator.routing.model import Fields, Machine
from simulator.routing.options import RoutingOptions
from simulator.routing.replay.body import ReplayBody
from simulator.routing.replay.directive import DirectiveError


@dataclass(frozen=True, slots=True)
class Caching:
    """The replay caches as one request uses them."""

    cache: ReplayCache
    lookup: CacheLookup
    rules: tuple[CacheRule, ...]
    options: RoutingOptions

    def find(self, now: float) -> CachedReplay | None:
        session_first = self.options.cache_order == "session"
        return self.cache.find(self.lookup, self.rules, now, session_first=session_first)

    def remove(self) -> None:
        self.cache.remove(self.lookup, self.rules)

    def invalidate(self, replay: ReplayBody, source: Machine, now: float) -> None:
        """Remove the entry of this request if the replay says so; K-28 can limit this to replays to the origin."""
        if replay.cache is None or not replay.cache.invalidate:
            return
        if self.options.invalidate_with_any_replay or self._returns_to_origin(replay, source, now):
            self.remove()  # F-2.27, K-28

    def _returns_to_origin(self, replay: ReplayBody, source: Machine, now: float) -> bool:
        cached, directive = self.find(now), replay.directive
        if cached is None or (directive.app or source.app) != cached.source_app:
            return False
        return directive.instance in (None, cached.source_id)

    def store(self, replay: ReplayBody, source: Machine, now: float) -> Iterator[str]:
        """Store the replay if that is allowed; yields warnings that say why it is not.

        Raises DirectiveError if the options refuse the replay in that case (K-21, K-23).
        """
        instruction, rule = replay.cache, find_rule(self.lookup, self.rules)
        requested = instruction is not None and not instruction.invalidate and _has_content(instruction)
        if not requested and rule is None:
            return
        if feature := _find_uncacheable(replay):  # F-2.3, K-21
            if requested and self.options.uncacheable_replay == "refuse":
                raise DirectiveError(f"a replay with {feature} cannot be cached")
            if requested:
                yield f"a replay with {feature} is not cached (F-2.3)"
            return
        if rule is not None:
            entry = self._entry(replay, source, now + rule.ttl_seconds, allow_bypass=rule.allow_bypass)
            self.cache.store_session(self.lookup, self.rules, entry)
        if instruction is not None and requested:
            yield from self._store_path(instruction, replay, source, now)

    def _store_path(
        self, instruction: CacheInstruction, replay: ReplayBody, source: Machine, now: float
    ) -> Iterator[str]:
        ttl = instruction.ttl_seconds
        if ttl is None:
            yield "the replay is not cached: it has no TTL"
            return
        if ttl < MIN_TTL_SECONDS and self.options.short_ttl == "ignore":  # F-2.4, K-22
            yield f"the replay is not cached: its TTL is {ttl} s, the minimum is {MIN_TTL_SECONDS} s"
            return
        try:
            pattern = parse_pattern(instruction.prefix or "")
        except ValueError as error:
            yield f"the replay is not cached: the pattern {error}"
            return
        if not pattern.covers(self.lookup.host, self.lookup.path):  # F-2.13, K-23
            problem = f"the pattern {instruction.prefix!r} does not match this request"
            if self.options.unmatched_pattern == "refuse":
                raise DirectiveError(problem)
            yield f"the replay is not cached: {problem}"
            return
        expires_at = now + max(ttl, MIN_TTL_SECONDS)
        entry = self._entry(replay, source, expires_at, allow_bypass=instruction.allow_bypass)
        self.cache.store_path(self.lookup, pattern, entry)

    @staticmethod
    def _entry(replay: ReplayBody, source: Machine, expires_at: float, *, allow_bypass: bool) -> CachedReplay:
        return CachedReplay(replay.directive, source.app, source.id, expires_at, allow_bypass)


def read_instruction(fields: Fields) -> CacheInstruction | None:
    """The cache instruction in the headers of a response (F-2.11, F-2.14, F-2.15, F-2.27)."""
    pattern = find_field(fields, b"fly-replay-cache")
    if pattern is None:
        return None
    if pattern.lower() == "invalidate":
        return CacheInstruction(invalidate=True)
    ttl = find_field(fields, b"fly-replay-cache-ttl-secs") or ""
    digits = ttl.removeprefix("-")
    return CacheInstruction(
        prefix=pattern,
        ttl_seconds=int(ttl) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None,
        allow_bypass=(find_field(fields, b"fly-replay-cache-allow-bypass") or "").lower() == "yes",
    )


def _has_content(instruction: CacheInstruction) -> bool:
    return instruction.prefix is not None or instruction.ttl_seconds is not None


def _find_uncacheable(replay: ReplayBody) -> str | None:
    """The features of a replay that prevent caching, for a message (F-2.3)."""
    directive = replay.directive
    features = {
        "state": directive.state is not None,
        "timeout": directive.timeout_seconds is not None,
        "fallback": directive.fallback is not None,
        "a transform": replay.transform is not None,
    }
    return " and ".join(name for name, is_used in features.items() if is_used) or None
