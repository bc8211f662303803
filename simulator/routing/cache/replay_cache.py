"""Replay cache: stored replays, by path (response headers or JSON) and by session (rules in `fly.toml`).

The cache is an optimization, not a guarantee: any request may still go to the origin (F-2.2). `now` is in seconds
since the Unix epoch. Sources: facts section 2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from simulator.routing.cache.rule import CacheRule, KeyKind
from simulator.routing.headers import find_cookie, find_field
from simulator.routing.model import Fields
from simulator.routing.replay.directive import ReplayDirective

_Key = TypeVar("_Key", bound=tuple[str, ...])

MIN_TTL_SECONDS = 10
"""F-2.4, for entries by path and by session."""
MAX_ENTRIES = 10_000
"""Per cache; the oldest entry is evicted first. Fly documents no limit."""


class CacheStatus(StrEnum):
    """Values of `fly-replay-cache-status` (F-1.47); a request that is not replayed has no such header."""

    MISS = "miss"
    HIT = "hit"
    BYPASS = "bypass"


@dataclass(frozen=True, slots=True)
class CacheInstruction:
    """Caching instruction of a replaying response, from headers or the JSON `cache` (F-2.11, F-1.81)."""

    prefix: str | None = None
    ttl_seconds: int | None = None
    allow_bypass: bool = False
    invalidate: bool = False


@dataclass(frozen=True, slots=True)
class PathPattern:
    """Where a cached replay applies: a path and all paths below it, on one host or the request's (F-2.11, F-2.12)."""

    host: str | None
    path: str

    def covers(self, host: str, path: str) -> bool:
        """Matches whole path segments: /api covers /api and /api/x, not /apiary (F-2.16, F-2.20)."""
        if self.host is not None and self.host != host:
            return False
        return self.path == "/" or path == self.path or path.startswith(f"{self.path}/")


def parse_pattern(text: str) -> PathPattern:
    """Parse `/path`, `/path/` or `/path/*`, optionally after a host. Raises ValueError with the reason."""
    text = text.strip()
    if "://" in text:
        raise ValueError(f"{text!r} has a scheme; expected a path, optionally after a host")
    host, slash, rest = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} has no path; expected a '/'")
    if ":" in host:
        raise ValueError(f"{text!r} has a port, which is not allowed")
    path = "/" + rest.removesuffix("*").rstrip("/")
    if "*" in path:
        raise ValueError(f"{text!r} has a '*' that is not at its end")
    return PathPattern(host.lower() or None, path)


@dataclass(frozen=True, slots=True)
class CachedReplay:
    """A cache entry: the directive, the machine that sent it, and when it expires."""

    directive: ReplayDirective
    source_app: str
    source_id: str
    expires_at: float
    allow_bypass: bool


@dataclass(frozen=True, slots=True)
class CacheLookup:
    """The parts of a request that identify cache entries.

    `scope` is the region of the edge, or empty if all edges share one cache (K-24).
    """

    scope: str
    host: str
    path: str
    fields: Fields


class ReplayCache:
    """The replay caches of one proxy, by path and by session."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._paths: OrderedDict[tuple[str, str, str], CachedReplay] = OrderedDict()
        """(scope, host, path prefix) -> replay."""
        self._sessions: OrderedDict[tuple[str, str, str, str, str], CachedReplay] = OrderedDict()
        """(scope, host, path of the rule, name of its cookie or header, value) -> replay (F-2.22)."""

    def find(
        self, lookup: CacheLookup, rules: Iterable[CacheRule], now: float, *, session_first: bool = False
    ) -> CachedReplay | None:
        """The entry for a request: by path first, then by session, or in reverse order (K-26)."""
        if not self._paths and not self._sessions:
            return None
        by_path, by_session = self._find_path(lookup, now), self._find_session(lookup, rules, now)
        return (by_session or by_path) if session_first else (by_path or by_session)

    def _find_path(self, lookup: CacheLookup, now: float) -> CachedReplay | None:
        found = (
            self._get_unexpired(self._paths, (lookup.scope, lookup.host, p), now)
            for p in _prefixes(lookup.path)
        )
        return next((replay for replay in found if replay is not None), None)

    def _find_session(
        self, lookup: CacheLookup, rules: Iterable[CacheRule], now: float
    ) -> CachedReplay | None:
        key = _session_key(lookup, rules)
        return self._get_unexpired(self._sessions, key, now) if key is not None else None

    def store_path(self, lookup: CacheLookup, pattern: PathPattern, replay: CachedReplay) -> None:
        self._put(self._paths, (lookup.scope, pattern.host or lookup.host, pattern.path), replay)

    def store_session(self, lookup: CacheLookup, rules: Iterable[CacheRule], replay: CachedReplay) -> None:
        """Store an entry if the request has the cookie or header of the rule (F-2.23)."""
        key = _session_key(lookup, rules)
        if key is not None:
            self._put(self._sessions, key, replay)

    def remove(self, lookup: CacheLookup, rules: Iterable[CacheRule]) -> None:
        """Remove every entry that applies to this request (F-2.27)."""
        for prefix in _prefixes(lookup.path):
            self._paths.pop((lookup.scope, lookup.host, prefix), None)
        key = _session_key(lookup, rules)
        if key is not None:
            self._sessions.pop(key, None)

    def _put(self, entries: OrderedDict[_Key, CachedReplay], key: _Key, replay: CachedReplay) -> None:
        entries[key] = replay
        entries.move_to_end(key)
        if len(entries) > self._max_entries:
            entries.popitem(last=False)

    @staticmethod
    def _get_unexpired(
        entries: OrderedDict[_Key, CachedReplay], key: _Key, now: float
    ) -> CachedReplay | None:
        found = entries.get(key)
        if found is not None and found.expires_at <= now:
            del entries[key]
            return None
        return found


def find_rule(lookup: CacheLookup, rules: Iterable[CacheRule]) -> CacheRule | None:
    """The rule with the longest path that covers the request (F-2.21)."""
    matching = [rule for rule in rules if parse_pattern(rule.path_prefix).covers(lookup.host, lookup.path)]
    return max(matching, key=lambda rule: len(rule.path_prefix.rstrip("/*")), default=None)


def _session_key(lookup: CacheLookup, rules: Iterable[CacheRule]) -> tuple[str, str, str, str, str] | None:
    """None if no rule applies or the request lacks its cookie or header; it is then routed normally (F-2.25)."""
    rule = find_rule(lookup, rules)
    if rule is None:
        return None
    read = find_cookie if rule.kind is KeyKind.COOKIE else find_field
    value = read(
        lookup.fields, rule.name.lower().encode() if rule.kind is KeyKind.HEADER else rule.name.encode()
    )
    return (lookup.scope, lookup.host, rule.path_prefix, rule.name, value) if value else None


def _prefixes(path: str) -> Iterator[str]:
    """Every path that covers `path`, longest first: /a/b, /a, /."""
    path = path.rstrip("/")
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield "/"
