"""When a replay is remembered, used and forgotten: the rules of facts section 2 around `ReplayCache`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulator.routing.cache.replay_cache import (
    MIN_TTL_SECONDS,
    Asked,
    CachedReplay,
    CacheInstruction,
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
    """What one request has to do with the caches."""

    cache: ReplayCache
    asked: Asked
    rules: tuple[CacheRule, ...]
    options: RoutingOptions

    def find(self, now: float) -> CachedReplay | None:
        session_first = self.options.cache_order == "session"
        return self.cache.find(self.asked, self.rules, now, session_first=session_first)

    def forget(self) -> None:
        self.cache.forget(self.asked, self.rules)

    def remember(self, replay: ReplayBody, source: Machine, now: float) -> Iterator[str]:
        """Remember what may be; yields, as words, why something may not. Raises DirectiveError where options say so."""
        instruction, rule = replay.cache, find_rule(self.asked, self.rules)
        wanted = instruction is not None and not instruction.invalidate and _says_something(instruction)
        if not wanted and rule is None:
            return
        if obstacle := _obstacle(replay):  # F-2.3, K-21
            if wanted and self.options.uncacheable_replay == "refuse":
                raise DirectiveError(f"a replay with {obstacle} cannot be cached")
            if wanted:
                yield f"a replay with {obstacle} is not cached (F-2.3)"
            return
        if rule is not None:
            kept = self._kept(replay, source, now + rule.ttl_seconds, allow_bypass=rule.allow_bypass)
            self.cache.remember_session(self.asked, self.rules, kept)
        if instruction is not None and wanted:
            yield from self._remember_path(instruction, replay, source, now)

    def _remember_path(
        self, instruction: CacheInstruction, replay: ReplayBody, source: Machine, now: float
    ) -> Iterator[str]:
        ttl = instruction.ttl_seconds
        if ttl is None:
            yield "the replay is not cached: it names no time to live"
            return
        if ttl < MIN_TTL_SECONDS and self.options.short_ttl == "ignore":  # F-2.4, K-22
            yield f"the replay is not cached: its time to live is {ttl} s, the least is {MIN_TTL_SECONDS} s"
            return
        try:
            pattern = parse_pattern(instruction.prefix or "")
        except ValueError as error:
            yield f"the replay is not cached: the pattern {error}"
            return
        if not pattern.covers(self.asked.host, self.asked.path):  # F-2.13, K-23
            problem = f"the pattern {instruction.prefix!r} does not match this request"
            if self.options.unmatched_pattern == "refuse":
                raise DirectiveError(problem)
            yield f"the replay is not cached: {problem}"
            return
        expires_at = now + max(ttl, MIN_TTL_SECONDS)
        kept = self._kept(replay, source, expires_at, allow_bypass=instruction.allow_bypass)
        self.cache.remember_path(self.asked, pattern, kept)

    @staticmethod
    def _kept(replay: ReplayBody, source: Machine, expires_at: float, *, allow_bypass: bool) -> CachedReplay:
        return CachedReplay(replay.directive, source.app, source.id, expires_at, allow_bypass)


def read_instruction(fields: Fields) -> CacheInstruction | None:
    """The `fly-replay-cache*` headers of a response (F-2.11, F-2.14, F-2.15, F-2.27)."""
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


def _says_something(instruction: CacheInstruction) -> bool:
    return instruction.prefix is not None or instruction.ttl_seconds is not None


def _obstacle(replay: ReplayBody) -> str | None:
    """What of a replay may not be cached (F-2.3)."""
    directive = replay.directive
    found = {
        "state": directive.state is not None,
        "timeout": directive.timeout_seconds is not None,
        "fallback": directive.fallback is not None,
        "a transform": replay.transform is not None,
    }
    return " and ".join(name for name, is_there in found.items() if is_there) or None
